// Compression into GGUF files of K types: the codes that quantizers made for them are in the file as they are.
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { GivenRecipe } from "../../src/compress/recipe.js";
import { type CompressEvent, type CompressOptions, compress } from "../../src/compress.js";
import type { KTypeName } from "../../src/form.js";
import { openRunning } from "../../src/models/open.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { Random } from "../../src/random.js";
import { refused } from "../checkpoint/crafted.js";
import { ggmlName, interleave, TINY_TOKENS, tinyGguf } from "../checkpoint/gguf/models.js";
import { writeGguf } from "../checkpoint/gguf/writer.js";
import { scratch } from "../cli/program.js";
import { losses } from "../losses.js";
import { askProgram, hasModules, withoutPython } from "../oracles/oracles.js";
import { askLlama, HAS_LLAMA } from "../runtimes/llama.js";
import { note, skipUnless } from "../shared.js";
import type { Files } from "./stories.js";

const test = suite("compress to GGUF of K types");
const folder = scratch(test);
const QUICK = { version: 2, samples: 8, length: 32 } as const;
const HEADS = { q: 4, k: 2 };
const WIDE = {
  ...{ hidden_size: 256, intermediate_size: 512, num_hidden_layers: 2 },
  ...{ num_attention_heads: HEADS.q, num_key_value_heads: HEADS.k, tie_word_embeddings: false },
  max_position_embeddings: 256,
};
/** Linears that are Q6_K in a mixture of this many layers. */
const SIX = /layers\.1\.(mlp\.down_proj|self_attn\.v_proj)$/;

const random = new Random(3);
const TEXT = Array.from(
  { length: 600 },
  () => ["abc", " c", "ab", " cab", "b"][Math.floor(5 * random.next())],
).join("");

/** A small model in one file, its tokenizer among it. */
async function openWide(changes: object = {}): Promise<Checkpoint> {
  const { written } = await tinyGguf({ ...WIDE, ...changes });
  const keys = { ...written.keys, ...TINY_TOKENS };
  // Smaller logits: with llama.cpp's activations of 8 bits they are less far off.
  const head = written.tensors!.find(({ name }) => name === "output.weight")!;
  const values = new Float32Array(head.bytes.buffer, head.bytes.byteOffset);
  for (let i = 0; i < values.length; i++) values[i] *= 0.3;
  return openCheckpoint(memoryFolder({ "m.gguf": writeGguf({ ...written, keys }) }, "wide"));
}

interface Given extends Partial<CompressOptions> {
  readonly source?: Checkpoint;
}

async function run(recipe: object, { source, ...options }: Given = {}) {
  const model = source ?? (await openWide());
  const out = memoryOutputFolder("out");
  const given = { ...QUICK, ...recipe } as GivenRecipe;
  const work = compress({
    model,
    out,
    backend: "wasm",
    recipe: given,
    calibration: TEXT,
    dtype: "f32",
    ...options,
  });
  const events: CompressEvent[] = [];
  for await (const event of work) events.push(event);
  const files = out.files as Files;
  return {
    files,
    result: await work.result(),
    events,
    made: await openCheckpoint(memoryFolder(files)),
  };
}

const quantizing = (options: object = {}, more: object = {}) => ({
  layout: "gguf",
  steps: [{ quantize: { method: "gptq", ...options }, ...more }],
});

const typeOf = ({ tensors }: Checkpoint, layer: string) =>
  tensors.get(`${layer}.weight`)!.stored!.type;

test("a mixture: each linear has the values that the run had, bit for bit", async () => {
  for (const method of ["gptq", "rtn"]) {
    const { made, result } = await run(quantizing({ method }), { ggufType: "Q4_K_M" });
    // The same grids in the dense layout, which stores the run's values in the model's F32.
    const overrides = [{ match: "*.layers.1.{mlp.down_proj,self_attn.v_proj}", kType: "Q6_K" }];
    const dense = await run({
      ...quantizing({ method, kType: "Q4_K" }, { overrides }),
      layout: "dense",
    });
    assert.is(result.layers.length, 14);
    for (const { name, bitsPerWeight, layerError, figures } of result.layers) {
      const type = SIX.test(name) ? "Q6_K" : "Q4_K";
      assert.is(typeOf(made, name), type, name);
      const [found, wanted] = [made, dense.made].map((one) => one.readFloat32(`${name}.weight`));
      assert.equal(await found, await wanted, name);
      assert.is(bitsPerWeight, type === "Q6_K" ? 6.5625 : 4.5);
      assert.ok(layerError! > 0 && layerError! < 0.05, `${name}: ${layerError}`);
      if (method === "gptq") assert.ok(figures.objectiveAfter < figures.objectiveBefore, name);
    }
    assert.is(made.tensors.get("lm_head.weight")!.stored!.type, "Q6_K");
  }
});

test("one type for all, of which a recipe's own K type is one", async () => {
  for (const kType of ["Q4_K", "Q5_K", "Q6_K"] as const satisfies readonly KTypeName[]) {
    const options = { refine: 0 };
    const asked = await run(quantizing(options), { ggufType: kType });
    const own = await run(quantizing({ ...options, kType }));
    assert.equal(own.result.layers, asked.result.layers);
    for (const { name } of own.result.layers) {
      assert.is(typeOf(own.made, name), kType);
      const weight = `${name}.weight`;
      assert.equal(await own.made.read(weight), await asked.made.read(weight), name);
    }
  }
});

test("layers of several K types, and what is left has its own type", async () => {
  const overrides = [{ match: "*.up_proj", kType: "Q6_K" }];
  const recipe = quantizing({ kType: "Q4_K" }, { overrides, ignore: ["*.o_proj"] });
  const { made } = await run(recipe, { dtype: "bf16" });
  const types = ["mlp.up_proj", "mlp.gate_proj", "self_attn.o_proj"].map((name) => {
    return typeOf(made, `model.layers.1.${name}`);
  });
  assert.equal(types, ["Q6_K", "Q4_K", "BF16"]);
});

test("linears whose rows are no whole blocks have the types in their place, and a note says so", async () => {
  const source = await openWide({ intermediate_size: 288 });
  const places = [
    ["Q4_K", "Q5_0", 5.5],
    ["Q5_K", "Q5_1", 6],
    ["Q6_K", "Q8_0", 8.5],
  ] as const;
  for (const [ggufType, type, bits] of places) {
    const { made, result, events } = await run(quantizing(), { source, ggufType });
    const down = result.layers.find(({ name }) => name.endsWith("1.mlp.down_proj"))!;
    assert.is(typeOf(made, down.name), type);
    assert.is(down.bitsPerWeight, bits);
    assert.is(typeOf(made, "model.layers.1.mlp.up_proj"), ggufType);
    const notes = events.flatMap((event) => (event.type === "note" ? [event.message] : []));
    assert.match(notes.join("\n"), new RegExp(`are ${type} in the place of ${ggufType}`));
  }
});

test("what was pruned stays zero in Q6_K", async () => {
  const steps = [{ prune: { method: "magnitude" } }, { quantize: { method: "gptq" } }];
  const { made, result } = await run({ layout: "gguf", steps }, { ggufType: "Q6_K" });
  for (const { name } of result.layers) {
    const values = await made.readFloat32(`${name}.weight`);
    const zeros = values.filter((value) => value === 0).length;
    assert.ok(zeros >= values.length / 2, `${name}: ${zeros} of ${values.length}`);
  }
});

const PRUNED = [{ prune: { method: "magnitude" } }, { quantize: { method: "gptq" } }];
const REFUSED: readonly (readonly [string, object, Given, RegExp])[] = [
  [
    "bits of another grid",
    quantizing({ bits: 3 }),
    { ggufType: "Q4_K_M" },
    /^\[ggufType\] model\.layers\.0\.self_attn\.q_proj: `bits: 3` is not its grid, .* leave `bits` out/,
  ],
  [
    "another K type",
    quantizing({ kType: "Q6_K" }),
    { ggufType: "Q4_K" },
    /^\[ggufType\] .* `kType: Q6_K` is not its grid/,
  ],
  [
    "a type that holds no codes of K types",
    quantizing({ kType: "Q6_K" }),
    { ggufType: "Q8_0" },
    /^\[ggufType\] .* Q8_0 does not hold codes of Q6_K; choose Q6_K, or leave it out/,
  ],
  [
    "another layout",
    { steps: [{ quantize: { method: "gptq", kType: "Q4_K" } }] },
    {},
    /^\[kType\] only GGUF files have Q4_K, not the layout grouped-int; give `layout: gguf`/,
  ],
  [
    "zeros that must stay",
    { layout: "gguf", steps: PRUNED },
    { ggufType: "Q4_K" },
    /it is pruned before, and grids of Q4_K are not taken .* choose `ggufType: Q6_K`/,
  ],
  [
    "zeros that must stay in a recipe's own type",
    { layout: "gguf", steps: [PRUNED[0], { quantize: { method: "rtn", kType: "Q5_K" } }] },
    {},
    /grids of Q5_K are not taken .* choose `kType: Q6_K`, or leave it out/,
  ],
];

for (const [what, recipe, options, message] of REFUSED) {
  test(`${what}: refused`, async () => {
    await refused(() => run(recipe, options), message);
  });
}

test("rows that are no whole blocks of a recipe's own type: refused", async () => {
  const source = await openWide({ intermediate_size: 288 });
  await refused(
    () => run(quantizing({ kType: "Q4_K" }), { source }),
    /^\[kType\] model\.layers\.0\.mlp\.down_proj: its 288 inputs are no whole blocks of 256, .*`ggufType: Q4_K`/,
  );
});

type Look = Readonly<Record<string, readonly [type: string, hash: string]>>;

async function written(ggufType: string) {
  const made = await run(quantizing(), { ggufType });
  const path = join(folder, `${ggufType}.gguf`);
  writeFileSync(path, made.files["model.gguf"]);
  return { ...made, path };
}

skipUnless(
  test,
  hasModules("gguf"),
  withoutPython("gguf"),
  "the package gguf decodes the same bits",
  async () => {
    for (const ggufType of ["Q4_K_M", "Q5_K"]) {
      const { made, path, result } = await written(ggufType);
      const [look] = askProgram({ look: [path] }, "checkpoint", "gguf", "files.py") as Look[];
      for (const { name } of result.layers) {
        const values = await made.readFloat32(`${name}.weight`);
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        const part = /\.([qk])_proj$/.exec(name)?.[1] as keyof typeof HEADS | undefined;
        const rows = made.tensors.get(`${name}.weight`)!.shape[0];
        const own = part ? interleave(bytes, rows, HEADS[part]) : bytes;
        const hash = createHash("sha256").update(own).digest("hex");
        assert.equal(look[ggmlName(`${name}.weight`)], [typeOf(made, name), hash], name);
      }
    }
  },
);

skipUnless(test, HAS_LLAMA, "node-llama-cpp is not here", "llama.cpp runs them", async () => {
  const ids = Array.from({ length: 200 }, (_, i) => (i * i * 7 + 3 * i) % 10);
  const meanOf = (values: ArrayLike<number>) =>
    Array.from(values).reduce((sum, one) => sum + one, 0) / values.length;
  for (const ggufType of ["Q4_K_M", "Q6_K"]) {
    const { path } = await written(ggufType);
    const [{ nll }] = await askLlama([{ path, ids }]);
    const running = await openRunning(path, { backend: "wasm", threads: 1, maxTokens: ids.length });
    const own = meanOf(await losses(running, Int32Array.from(ids)));
    await running.close();
    const ratio = Math.exp(meanOf(nll) - own);
    note(`${ggufType}: perplexity in llama.cpp x${ratio.toFixed(5)} that of here`);
    // Its activations have 8 bits.
    assert.ok(Math.abs(ratio - 1) < 0.01, `${ratio}`);
  }
});

test.run();
