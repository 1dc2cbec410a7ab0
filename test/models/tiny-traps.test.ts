import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWasm } from "../../src/backends/wasm.js";
import { fromFloat32 } from "../../src/checkpoint/dtype.js";
import {
  type AttentionSpec,
  type BranchSpec,
  type DecoderSpec,
  type NormSpec,
  normsOf,
} from "../../src/model.js";
import { readModel } from "../../src/models/stored.js";
import { refused } from "../checkpoint/crafted.js";
import {
  compressFiles,
  type Files,
  parseWeights,
  type Stored,
  withWeights,
} from "../compress/stories.js";
import { note } from "../shared.js";
import {
  gapOf,
  logitsOf,
  openFiles,
  TINY_FAMILIES,
  tinyFiles,
  tinyGolden,
  tinyTokenizer,
} from "./tiny-model.js";

const test = suite("tiny-traps");

const backend = await openWasm();

type Edit = (spec: DecoderSpec) => DecoderSpec;

/** Changes every branch of a model. */
function branches(edit: (branch: BranchSpec, block: number) => BranchSpec): Edit {
  return (spec) => ({
    ...spec,
    blocks: spec.blocks.map((block, i) => ({
      ...block,
      branches: block.branches.map((branch) => edit(branch, i)),
    })),
  });
}

/** Changes the attention of every block. */
function attention(edit: (layer: AttentionSpec) => Partial<AttentionSpec>): Edit {
  return branches((branch) => {
    const { layer } = branch;
    if (layer.kind !== "attention") return branch;
    return { ...branch, layer: { ...layer, ...edit(layer) } };
  });
}

/** Changes every norm of a model. */
function norms(edit: (norm: NormSpec) => NormSpec): Edit {
  return (spec) => {
    const around = branches(({ before, layer, after, ...rest }) => {
      const inner = Object.entries<NormSpec>(layer.norms).map(([role, norm]) => [role, edit(norm)]);
      return {
        ...rest,
        layer: { ...layer, norms: Object.fromEntries(inner) } as BranchSpec["layer"],
        ...(before && { before: edit(before) }),
        ...(after && { after: edit(after) }),
      };
    });
    return { ...around(spec), finalNorm: edit(spec.finalNorm) };
  };
}

/** What is special about a family, each left out: the logits must then be others. */
const TRAPS: Readonly<Record<string, Readonly<Record<string, Edit>>>> = {
  smollm3: {
    "a layer without rope": (spec) => {
      const { rope } = spec.blocks[0].branches[0].layer as AttentionSpec;
      return attention(() => ({ rope }))(spec);
    },
  },
  granite: {
    "the factor of embeddings": (spec) => ({ ...spec, embeddingScale: undefined }),
    "the factor of residuals": branches(({ scale: _, ...branch }) => branch),
    "the factor of scores": attention(() => ({ scale: undefined })),
    "the factor of logits": (spec) => ({ ...spec, logitScale: undefined }),
  },
  granitemoehybrid: {
    "the factor of embeddings": (spec) => ({ ...spec, embeddingScale: undefined }),
    rope: attention(() => ({ rope: undefined })),
  },
  olmo2: {
    "norms behind layers": branches(({ after, ...branch }) => ({ ...branch, before: after })),
    "norms over whole queries and keys": attention(
      ({ norms: { q, k }, headDim, heads, kvHeads }) => ({
        heads: heads / 2,
        kvHeads: kvHeads / 2,
        headDim: headDim * 2,
        norms: { q, k },
      }),
    ),
  },
  gemma3_text: {
    "gains stored less 1": norms(({ plusOne: _, ...norm }) => norm),
    "norms behind layers": branches(({ after: _, ...branch }) => branch),
    "the base of local layers": attention(({ rope }) => ({ rope: { ...rope!, theta: 1e6 } })),
    "the stretching of global layers": attention(({ rope }) => ({ rope: { theta: rope!.theta } })),
    "the window of local layers": attention(() => ({ window: undefined })),
    "the factor of scores": attention(() => ({ scale: undefined })),
    "the factor of embeddings": (spec) => ({ ...spec, embeddingScale: undefined }),
    "the rounding of that factor": (spec) => ({ ...spec, embeddingScale: Math.sqrt(80) }),
  },
  phi3: {
    "partial rotation": attention(({ rope }) => {
      const { dims: _, longrope, ...rest } = rope!;
      const factors = [...longrope!.factors, 2.5, 2.5];
      return { rope: { ...rest, longrope: { ...longrope!, factors } } };
    }),
    "LongRoPE's factors": attention(({ rope }) => ({
      rope: { ...rope!, longrope: { ...rope!.longrope!, factors: [1, 1, 1, 1, 1, 1] } },
    })),
    "LongRoPE's factor of scores": attention(({ rope }) => ({
      rope: { ...rope!, longrope: { ...rope!.longrope!, attentionFactor: 1 } },
    })),
    "the window": attention(() => ({ window: undefined })),
  },
  gpt2: {
    "learned positions": (spec) => ({ ...spec, positions: undefined }),
    "the mean that LayerNorm subtracts": norms((norm) => ({ ...norm, kind: "rms" })),
  },
  gpt_neox: {
    "branches side by side": (spec) => ({
      ...spec,
      blocks: spec.blocks.map((block) => ({ ...block, parallel: false })),
    }),
    "queries, keys and values head by head": attention((layer) => {
      const { qkv, o } = layer.sites as { qkv: never; o: never };
      return { sites: { qkv: { ...(qkv as object), parts: [] } as never, o } };
    }),
    "partial rotation": attention(() => ({ rope: { theta: 10000 } })),
    "GELU by the error function": branches((branch) => {
      const { layer } = branch;
      return layer.kind === "mlp"
        ? { ...branch, layer: { ...layer, activation: "gelu-tanh" } }
        : branch;
    }),
  },
  opt: {
    "the rows before the first position": (spec) => ({ ...spec, positions: { offset: 0 } }),
    ReLU: branches((branch) => {
      const { layer } = branch;
      return layer.kind === "mlp" ? { ...branch, layer: { ...layer, activation: "gelu" } } : branch;
    }),
  },
};

/** What is right differs by 1e-6 or so. */
const SEEN = 1e-4;
const seen: string[] = [];

for (const family of TINY_FAMILIES) {
  for (const [trap, edit] of Object.entries(TRAPS[family])) {
    test(`${family}: the logits show ${trap}`, async () => {
      const { ids, logits } = await tinyGolden(family);
      const checkpoint = await openFiles(tinyFiles(family));
      const gap = gapOf(await logitsOf(backend, checkpoint, ids, { edit }), logits);
      seen.push(`${family}: ${trap} ${gap.toExponential(1)}`);
      assert.ok(gap > SEEN, `without ${trap} they differ by ${gap} only`);
    });
  }
}

/** The tensors of a model under other names. */
async function renamed(family: string, rename: (name: string) => string): Promise<Files> {
  const files = { ...tinyFiles(family), ...tinyTokenizer() };
  const weights = [...parseWeights(files).tensors].map(([name, stored]) => {
    return [rename(name), stored] as const;
  });
  return withWeights(files, new Map(weights));
}

/** Names as programs save a model that has no head around it, and others. */
const RENAMED: readonly (readonly [family: string, from: RegExp, to: string])[] = [
  ["gpt2", /^transformer\./, ""],
  ["gpt_neox", /^gpt_neox\./, ""],
  ["opt", /^model\./, ""],
  ["opt", /^model\.decoder\./, ""],
  ["gpt2", /^transformer\./, "model.transformer."],
];

for (const [family, from, to] of RENAMED) {
  test(`${family} with "${to}" before its names: read, and written under the same`, async () => {
    const files = await renamed(family, (name) => name.replace(from, to));
    const { ids, logits } = await tinyGolden(family);
    const gap = gapOf(await logitsOf(backend, await openFiles(files), ids), logits);
    assert.ok(gap < 1e-5, String(gap));
    const made = await compressFiles(files, { method: "magnitude" }, { backend });
    const [before, after] = [files, made.files].map((one) => [...parseWeights(one).tensors.keys()]);
    assert.equal(after.sort(), before.sort());
  });
}

test("what old checkpoints hold beside parameters is passed over, and kept", async () => {
  const mask: Stored = { dtype: "BOOL", shape: [1, 1, 2, 2], bytes: new Uint8Array(4) };
  for (const [family, names] of [
    ["gpt2", ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"]],
    ["gpt_neox", ["gpt_neox.layers.0.attention.bias", "gpt_neox.layers.1.attention.masked_bias"]],
  ] as const) {
    const files: Files = { ...tinyFiles(family), ...tinyTokenizer() };
    const beside = names.map((name) => [name, mask] as const);
    const more = await withWeights(files, new Map([...parseWeights(files).tensors, ...beside]));
    const { ids, logits } = await tinyGolden(family);
    assert.ok(gapOf(await logitsOf(backend, await openFiles(more), ids), logits) < 1e-5);
    const made = await compressFiles(more, { method: "magnitude" }, { backend });
    const { tensors } = parseWeights(made.files);
    for (const name of names) assert.equal(tensors.get(name), mask);
  }
  const foreign = await renamed("opt", (name) => name.replace("fc1", "attn"));
  await refused(async () => readModel(await openFiles(foreign)), /fc1\.weight is missing/);
});

test("a head that repeats the embedding is taken, and one that is stored alone", async () => {
  for (const family of ["gpt2", "opt"]) {
    const files: Files = { ...tinyFiles(family), ...tinyTokenizer() };
    const { tensors } = parseWeights(files);
    const { spec } = readModel(await openFiles(files));
    assert.ok(spec.tiedHead);
    const embedding =
      family === "gpt2" ? "transformer.wte.weight" : "model.decoder.embed_tokens.weight";
    const twice = new Map([...tensors, ["lm_head.weight", tensors.get(embedding)!] as const]);
    const alone = new Map([...twice].filter(([name]) => name !== embedding));
    const { ids, logits } = await tinyGolden(family);
    for (const weights of [twice, alone]) {
      const checkpoint = await openFiles(await withWeights(files, weights));
      assert.ok(gapOf(await logitsOf(backend, checkpoint, ids), logits) < 1e-5);
    }
  }
});

test("a linear whose weight is stored the other way round is refused by name", async () => {
  const files: Files = { ...tinyFiles("gpt2"), ...tinyTokenizer() };
  const name = "transformer.h.1.mlp.c_fc.weight";
  const bytes = fromFloat32("BF16", new Float32Array(64 * 96));
  const turned: Stored = { dtype: "BF16", shape: [96, 64], bytes };
  const weights = new Map([...parseWeights(files).tensors, [name, turned]]);
  const checkpoint = await openFiles(await withWeights(files, weights));
  await refused(
    () => readModel(checkpoint),
    /h\.1\.mlp\.c_fc\.weight is \[96,64\], but .* \[64,96\]/,
  );
});

test("every norm of every family has a gain of its own name", async () => {
  for (const family of TINY_FAMILIES) {
    const { spec, weights } = readModel(await openFiles(tinyFiles(family)));
    for (const block of spec.blocks) {
      const names = normsOf(block).map(({ name }) => name);
      assert.is(new Set(names).size, names.length);
      for (const name of names) {
        assert.ok(
          [...weights.keys()].some((one) => one.endsWith(`.0.${name}.weight`)),
          name,
        );
      }
    }
  }
});

test("the figures", () => {
  note(`what each trap changes of the logits: ${seen.join(", ")}`);
});

test.run();
