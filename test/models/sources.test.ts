import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWasm } from "../../src/backends/wasm.js";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.js";
import {
  type BlockSpec,
  type LayerSpec,
  type LinearSource,
  type ModelFamily,
  type Site,
  sitesOf,
} from "../../src/model.js";
import { qwen2 } from "../../src/models/families/qwen2.js";
import { loadBlock } from "../../src/models/load.js";
import { loadDecoder } from "../../src/models/open.js";
import { readModel, refuseSources, type StoredModel } from "../../src/models/stored.js";
import { openRegistry } from "../../src/registry.js";
import { refused } from "../checkpoint/crafted.js";
import { type StoredTensor, TINY_CONFIG, tinyCheckpoint, tinyTensor } from "./tiny.js";

const test = suite("sources");

const [HIDDEN, NEURONS] = [8, 12];

/** Where a family of this test stores the linears of a block: q, k and v as one, and so on. */
const SOURCES: Readonly<Record<string, (layer: number) => LinearSource>> = {
  q_proj: (layer) => ({ ...fused(layer), outputs: { first: 0, of: 16 } }),
  k_proj: (layer) => ({ ...fused(layer), outputs: { first: 8, of: 16 } }),
  v_proj: (layer) => ({ ...fused(layer), outputs: { first: 12, of: 16 } }),
  o_proj: (layer) => ({ name: `h.${layer}.attn.c_proj`, transposed: true }),
  gate_proj: (layer) => ({ name: `h.${layer}.gate_up`, outputs: { first: 0, of: 2 * NEURONS } }),
  up_proj: (layer) => ({
    name: `h.${layer}.gate_up`,
    outputs: { first: NEURONS, of: 2 * NEURONS },
  }),
  // In its own place, but transposed.
  down_proj: (layer) => ({ name: `model.layers.${layer}.mlp.down_proj`, transposed: true }),
};

function fused(layer: number): LinearSource {
  return { name: `h.${layer}.attn.c_attn`, transposed: true };
}

function moved(site: Site, layer: number): Site {
  return { ...site, source: SOURCES[site.name.split(".")[1]](layer) };
}

function movedBlock({ branches }: BlockSpec, layer: number): BlockSpec {
  return {
    branches: branches.map(({ before, layer: spec }) => {
      const sites = Object.entries<Site>(spec.sites).map(([role, site]) => [
        role,
        moved(site, layer),
      ]);
      return { before, layer: { ...spec, sites: Object.fromEntries(sites) } as LayerSpec };
    }),
  };
}

/** Qwen2, whose q, k and v have biases, stored in other tensors. */
const FAMILY: ModelFamily = {
  ...qwen2,
  read: (config) => {
    const spec = qwen2.read(config);
    return { ...spec, blocks: spec.blocks.map(movedBlock) };
  },
};

function floats({ bytes }: StoredTensor): Float32Array {
  return new Float32Array(bytes.slice().buffer);
}

function transposed(values: Float32Array, rows: number): Float32Array {
  const cols = values.length / rows;
  return values.map((_, i) => values[(i % rows) * cols + Math.floor(i / rows)]);
}

/** Moves the tensors of a plain checkpoint to where the family has them. */
function move(tensors: Map<string, StoredTensor>): void {
  const take = (name: string) => {
    const taken = tensors.get(name)!;
    tensors.delete(name);
    return floats(taken);
  };
  const put = (name: string, shape: readonly number[], values: Float32Array) =>
    tensors.set(name, tinyTensor(name, shape, "F32", new Uint8Array(values.buffer)));
  const join = (parts: readonly Float32Array[]) => Float32Array.from(parts.flatMap((p) => [...p]));
  for (const layer of [0, 1]) {
    const block = `model.layers.${layer}`;
    const of = (names: readonly string[], part: string) =>
      join(names.map((name) => take(`${block}.${name}_proj.${part}`)));
    const qkv = ["self_attn.q", "self_attn.k", "self_attn.v"];
    put(`h.${layer}.attn.c_attn.weight`, [HIDDEN, 16], transposed(of(qkv, "weight"), 16));
    put(`h.${layer}.attn.c_attn.bias`, [16], of(qkv, "bias"));
    const o = of(["self_attn.o"], "weight");
    put(`h.${layer}.attn.c_proj.weight`, [8, HIDDEN], transposed(o, HIDDEN));
    put(`h.${layer}.gate_up.weight`, [2 * NEURONS, HIDDEN], of(["mlp.gate", "mlp.up"], "weight"));
    const down = of(["mlp.down"], "weight");
    put(`${block}.mlp.down_proj.weight`, [NEURONS, HIDDEN], transposed(down, HIDDEN));
  }
}

const CONFIG = { ...TINY_CONFIG, model_type: "qwen2" };

function readMoved(checkpoint: Checkpoint): StoredModel {
  return readModel(checkpoint, { ...openRegistry(), families: { qwen2: FAMILY } });
}

test("fused, transposed and renamed linears are read as if each had a tensor of its own", async () => {
  const backend = await openWasm();
  const plain = readModel(await tinyCheckpoint(CONFIG));
  const stored = readMoved(await tinyCheckpoint(CONFIG, move));
  assert.equal([...stored.weights.keys()].sort(), [...plain.weights.keys()].sort());
  for (const layer of [0, 1]) {
    const expected = await loadBlock(plain, backend, layer, { hold: "f32" });
    const actual = await loadBlock(stored, backend, layer, { hold: "f32" });
    for (const { name } of sitesOf(actual.spec)) {
      for (const part of ["weight", "bias"] as const) {
        const [a, b] = [actual.linears[name][part], expected.linears[name][part]];
        if (!b) assert.is(a, undefined);
        else assert.equal(await backend.read(a as never), await backend.read(b as never), name);
      }
    }
  }
  const logits = async (model: StoredModel) => {
    const decoder = await loadDecoder(model, backend, 5);
    const out = backend.zeros([5, 10]);
    decoder.logits(Int32Array.of(1, 2, 3, 9, 0), out);
    return backend.read(out);
  };
  assert.equal(await logits(stored), await logits(plain));
  backend.dispose();
});

test("a fused tensor that is missing or of another shape is named; tensors beside it are refused", async () => {
  const fusedName = "h.1.attn.c_attn.weight";
  const edited = (edit: (tensors: Map<string, StoredTensor>) => void) =>
    tinyCheckpoint(CONFIG, (tensors) => {
      move(tensors);
      edit(tensors);
    });
  const without = await edited((tensors) => tensors.delete(fusedName));
  await refused(() => readMoved(without), /h\.1\.attn\.c_attn\.weight is missing/);
  const turned = await edited((tensors) => {
    tensors.set(fusedName, tinyTensor(fusedName, [16, HIDDEN]));
  });
  await refused(() => readMoved(turned), /c_attn\.weight is \[16,8\], but .* asks for \[8,16\]/);
  const both = await edited((tensors) => {
    tensors.set("h.2.gate_up.weight", tinyTensor("h.2.gate_up.weight", [2 * NEURONS, HIDDEN]));
  });
  await refused(() => readMoved(both), /h\.2\.gate_up\.weight is not part of a qwen2 model/);
});

test("what cannot be written as it was stored is refused by name", async () => {
  const stored = readMoved(await tinyCheckpoint(CONFIG, move));
  await refused(
    () => refuseSources(stored),
    /model\.layers\.0\.self_attn\.q_proj\.weight is stored transposed in h\.0\.attn\.c_attn\.weight, .*not written anew; store every linear/,
  );
  refuseSources(readModel(await tinyCheckpoint(CONFIG)));
});

test.run();
