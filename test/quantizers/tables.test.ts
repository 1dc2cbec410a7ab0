// Embedding and head on a grid: what is in their files, what runs of them, and what they cost.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openReference } from "../../src/backends/reference.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { toFloat32 } from "../../src/checkpoint/dtype.js";
import type { GivenRecipe } from "../../src/compress/recipe.js";
import { compress } from "../../src/compress.js";
import type { Leaf } from "../../src/form.js";
import { inspect } from "../../src/inspect.js";
import { openGridRows } from "../../src/models/grid-rows.js";
import { loadDense } from "../../src/models/load-form.js";
import { openModel, openRunning } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import {
  CALIBRATION,
  configOf,
  EVALUATION,
  type Files,
  parseWeights,
  type Stored,
  sameFiles,
  storyFiles,
  withWeights,
} from "../compress/stories.js";
import { divergence, predictionsOf } from "../divergence.js";
import { exportFiles, tensorBytes } from "../exported.js";
import { note, repositoryRoot } from "../shared.js";

const test = suite("quantizers/tables");

const ON_WASM = { backend: "wasm" } as const;
const EMBEDDING = "model.embed_tokens";
const HEAD = "lm_head";
const WINDOW = 256;

/** The embedded model with a head of its own, the embedding's rows doubled. */
async function untied(): Promise<Files> {
  const { tensors } = parseWeights(storyFiles());
  const { bytes, ...rest } = tensors.get(`${EMBEDDING}.weight`)!;
  // An exponent more.
  const halves = new Uint16Array(bytes.slice().buffer).map((half) =>
    half & 0x7fff ? half + 0x80 : half,
  );
  const head: Stored = { ...rest, bytes: new Uint8Array(halves.buffer) };
  const all = new Map([...tensors, [`${HEAD}.weight`, head]]);
  return withWeights(storyFiles(), all, { tie_word_embeddings: false });
}

const UNTIED = await untied();

/** Quantizes nothing but the tables. */
function only(options: object, rest: object = {}): GivenRecipe {
  const step = { quantize: { method: "rtn", weighted: false, ...options }, ignore: ["*"] };
  return { version: 2, steps: [step], ...rest } as GivenRecipe;
}

async function run(recipe: GivenRecipe, files: Files = storyFiles(), text?: string) {
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(files, "model"));
  const work = compress({ model, out, calibration: text, recipe, ...ON_WASM });
  const layers: string[] = [];
  for await (const event of work) if (event.type === "layer") layers.push(event.report.name);
  const result = await work.result();
  assert.equal(
    layers,
    result.layers.map(({ name }) => name),
  );
  return { files: out.files as Files, result };
}

/** The codes of 8 bits and groups of 32 as numbers, by code of the test's own. */
function decode(tensors: ReadonlyMap<string, Stored>, name: string): Float32Array {
  const part = (ending: string) => tensors.get(`${name}.weight_${ending}`)!;
  const scale = part("scale");
  const scales = toFloat32({ name, dtype: scale.dtype }, scale.bytes);
  return Float32Array.from(part("packed").bytes, (code, i) => {
    return (code - 128) * scales[Math.floor(i / 32)];
  });
}

function valuesOf(files: Files, name: string): Float32Array {
  const { dtype, bytes } = parseWeights(files).tensors.get(`${name}.weight`)!;
  return toFloat32({ name, dtype }, bytes);
}

/** The nearest level of the scale that spans each group, or half a step from it. */
function isNear(found: Float32Array, wanted: Float32Array): void {
  for (let first = 0; first < wanted.length; first += 32) {
    const group = wanted.subarray(first, first + 32);
    const step = Math.max(...group.map(Math.abs)) / 127;
    group.forEach((value, i) => {
      const off = Math.abs(found[first + i] - value);
      assert.ok(off <= 0.52 * step, `${first + i}: ${value} became ${found[first + i]}`);
    });
  }
}

const dense = await openRunning(join(repositoryRoot, "examples", "stories-1m"), ON_WASM);
const expected = await predictionsOf(dense, dense.tokenizer.encode(EVALUATION), WINDOW);
await dense.close();

for (const [bits, bound] of [
  [8, 0.0002],
  [6, 0.001],
  [4, 0.014],
] as const) {
  test(`${bits} bits of a tied embedding cost a KL of ${bound} at most`, async () => {
    const { files, result } = await run(only({ embeddingBits: bits }));
    const model = await openRunning(await openCheckpoint(memoryFolder(files)), ON_WASM);
    const { kl } = await divergence(expected, model);
    await model.close();
    note(`embedding and tied head of ${bits} bits: KL ${kl.toFixed(5)} of ${bound}`);
    assert.ok(kl <= bound && kl > 0, `KL ${kl}`);
    if (bits === 4) {
      // With a text, errors are weighed by what the head reads.
      const weighed = await run(only({ embeddingBits: bits }), storyFiles(), CALIBRATION);
      const other = await openRunning(await openCheckpoint(memoryFolder(weighed.files)), ON_WASM);
      const found = (await divergence(expected, other)).kl;
      await other.close();
      note(`the same with the weights of the head's inputs: KL ${found.toFixed(5)}`);
      assert.ok(found < kl, `${found}`);
    }
    assert.equal(
      result.layers.map(({ name, bitsPerWeight }) => [name, bitsPerWeight]),
      [[EMBEDDING, bits + 0.5]],
    );
  });
}

test("a tied embedding is one quantized matrix, and every count has it", async () => {
  const { files, result } = await run(only({ headBits: 8 }));
  const { tensors } = parseWeights(files);
  assert.equal(
    [...tensors.keys()].filter((name) => /embed|lm_head/.test(name)).sort(),
    ["packed", "scale", "shape"].map((part) => `${EMBEDDING}.weight_${part}`),
  );
  assert.is(configOf(files).tie_word_embeddings, configOf(storyFiles()).tie_word_embeddings);
  isNear(decode(tensors, EMBEDDING), valuesOf(storyFiles(), EMBEDDING));
  const seen = await inspect(await openCheckpoint(memoryFolder(files))).result();
  assert.equal(seen.forms, { [`${EMBEDDING}.weight`]: "dense x int8 by 32" });
  assert.is(seen.bytes, result.totals.bytesAfter);
  const { shape } = parseWeights(storyFiles()).tensors.get(`${EMBEDDING}.weight`)!;
  const weights = shape[0] * shape[1];
  assert.is(result.totals.layerBytesBefore, 2 * weights);
  // The shape, too.
  assert.is(result.totals.layerBytesAfter, (weights * 8.5) / 8 + 16);
  const saved = result.totals.bytesBefore - result.totals.bytesAfter;
  assert.is(saved, 2 * weights - ((weights * 8.5) / 8 + 16));

  const copied = await exportFiles(files);
  sameFiles(tensorBytes(copied.files), tensorBytes(files));
  const rebuilt = await exportFiles(files, { reconstruct: true });
  const straight = await run(only({ headBits: 8 }, { layout: "dense" }));
  sameFiles(tensorBytes(rebuilt.files), tensorBytes(straight.files));
});

test("a table of several pieces is put together as it was", async () => {
  const { tensors } = parseWeights(storyFiles());
  const { dtype, shape, bytes } = tensors.get(`${EMBEDDING}.weight`)!;
  const [rows, cols] = [20_000, shape[1]];
  const wide = new Uint8Array(2 * rows * cols);
  for (let row = 0; row < rows; row++) {
    const from = 2 * cols * ((7 * row) % shape[0]);
    wide.set(bytes.subarray(from, from + 2 * cols), 2 * cols * row);
  }
  const table: Stored = { dtype, shape: [rows, cols], bytes: wide };
  const all = new Map([...tensors, [`${EMBEDDING}.weight`, table]]);
  const model = await withWeights(storyFiles(), all, { vocab_size: rows });
  const { files } = await run(only({ embeddingBits: 8 }), model);
  isNear(decode(parseWeights(files).tensors, EMBEDDING), valuesOf(model, EMBEDDING));
});

test("a copy of a tied head is left out", async () => {
  const { tensors } = parseWeights(storyFiles());
  const table = tensors.get(`${EMBEDDING}.weight`)!;
  const both = new Map([...tensors, [`${HEAD}.weight`, table]]);
  const twice = await withWeights(storyFiles(), both);
  const { files } = await run(only({ embeddingBits: 8 }), twice);
  const { files: once } = await run(only({ embeddingBits: 8 }));
  sameFiles(tensorBytes(files), tensorBytes(once));

  // And a pair that has the head's name alone keeps it.
  both.delete(`${EMBEDDING}.weight`);
  const alone = await run(only({ embeddingBits: 8 }), await withWeights(storyFiles(), both));
  assert.equal(
    alone.result.layers.map(({ name }) => name),
    [HEAD],
  );
  const model = await openModel(await openCheckpoint(memoryFolder(alone.files)));
  await model.close();
});

test("what the head reads weighs errors by whichever name a pair is stored", async () => {
  const { tensors } = parseWeights(storyFiles());
  const all = new Map([...tensors, [`${HEAD}.weight`, tensors.get(`${EMBEDDING}.weight`)!]]);
  all.delete(`${EMBEDDING}.weight`);
  const renamed = await withWeights(storyFiles(), all);
  const recipe = only({ embeddingBits: 4 }, { samples: 2, length: 32 });
  const codesOf = async (files: Files, name: string, text?: string) =>
    parseWeights((await run(recipe, files, text)).files).tensors.get(`${name}.weight_packed`)!;
  const weighed = await codesOf(storyFiles(), EMBEDDING, CALIBRATION);
  assert.equal(await codesOf(renamed, HEAD, CALIBRATION), weighed);
  assert.not.equal(await codesOf(renamed, HEAD), weighed);
});

test("an embedding of its own is looked up in its codes, as its values are", async () => {
  const options = { embeddingBits: 5, headBits: 8 };
  const { files, result } = await run(only(options), UNTIED);
  assert.equal(
    result.layers.map(({ name, bitsPerWeight }) => [name, bitsPerWeight]),
    [
      [EMBEDDING, 5.5],
      [HEAD, 8.5],
    ],
  );
  isNear(decode(parseWeights(files).tensors, HEAD), valuesOf(UNTIED, HEAD));
  const alone = (await run(only({ embeddingBits: 5 }), UNTIED)).files;
  const rebuilt = (await exportFiles(alone, { reconstruct: true })).files;
  const ids = dense.tokenizer.encode(EVALUATION.slice(0, 400));
  const predict = async (one: Files) => {
    const model = await openRunning(await openCheckpoint(memoryFolder(one)), ON_WASM);
    const { rows } = await predictionsOf(model, ids, ids.length);
    const held = model.backend.memory().live;
    await model.close();
    return { logits: rows[0], held };
  };
  const [codes, values] = [await predict(alone), await predict(rebuilt)];
  // The backend holds no embedding at all: not even of 16 bits.
  const { shape } = parseWeights(UNTIED).tensors.get(`${EMBEDDING}.weight`)!;
  const less = values.held - codes.held;
  note(`an embedding of codes takes ${less} bytes less of the backend's memory`);
  assert.ok(less >= 2 * shape[0] * shape[1], `${less}`);
  // The values of codes have more digits than bf16.
  let off = 0;
  codes.logits.forEach((value, i) => {
    off = Math.max(off, Math.abs(value - values.logits[i]));
  });
  assert.ok(off < 0.2, `logits are ${off} off`);

  const backend = await openReference();
  const model = readModel(await openCheckpoint(memoryFolder(files)));
  const name = `${EMBEDDING}.weight`;
  const form = model.forms.get(name) as Leaf<string>;
  const table = await openGridRows(model, backend, name, form, undefined);
  const whole = await loadDense(model, backend, name);
  const some = Int32Array.of(0, 7, shape[0] - 1, 7);
  const out = backend.zeros([some.length, shape[1]]);
  table.lookUp(some, out);
  const all = (await backend.read(whole)) as Float32Array;
  const looked = (await backend.read(out)) as Float32Array;
  some.forEach((id, i) => {
    const row = (of: Float32Array, at: number) => of.slice(at * shape[1], (at + 1) * shape[1]);
    assert.equal(row(looked, i), row(all, id));
  });
  backend.dispose();
});

test("linears have their own bits beside them, and without the options nothing changes", async () => {
  const quick = { version: 2, samples: 4, length: 32 } as const;
  const step = { quantize: { method: "gptq", bits: 3 } };
  const plain = await run({ ...quick, steps: [step] } as GivenRecipe, storyFiles(), CALIBRATION);
  const steps = [{ quantize: { ...step.quantize, embeddingBits: 8 } }];
  const both = await run({ ...quick, steps } as GivenRecipe, storyFiles(), CALIBRATION);
  const [before, after] = [plain, both].map(({ files }) => parseWeights(files).tensors);
  for (const [name, stored] of before) {
    if (!name.startsWith(EMBEDDING)) assert.equal(after.get(name), stored);
  }
  assert.is(both.result.layers.length, 29);
  const { recipe } = JSON.parse(new TextDecoder().decode(plain.files["penjing.json"]));
  assert.not.match(JSON.stringify(recipe), /embeddingBits|headBits/);
});

const QUANTIZE = { method: "rtn", weighted: false } as const;
for (const [recipe, message, files] of [
  [only({ embeddingBits: 8, headBits: 6 }), /headBits 6, but the model's head is its embedding/],
  [only({ embeddingBits: 1 }), /embeddingBits is 1, must be a whole number from 2 to 8/],
  [
    {
      version: 2,
      steps: [
        { quantize: { ...QUANTIZE, headBits: 8 }, match: ["*.layers.0.*"] },
        { quantize: { ...QUANTIZE, embeddingBits: 8 }, ignore: ["*.layers.0.*"] },
      ],
    },
    /acts on model\.embed_tokens, which an earlier step has quantized/,
  ],
  [
    {
      version: 2,
      steps: [{ quantize: QUANTIZE, overrides: [{ match: "*.q_proj", embeddingBits: 8 }] }],
    },
    /"embeddingBits"/,
  ],
  [{ method: "wanda", embeddingBits: 8 }, /it is of quantizing, and wanda prunes/],
  [
    {
      version: 2,
      steps: [
        { rotate: { scope: "shared", objective: "magnitude" } },
        { quantize: { ...QUANTIZE, embeddingBits: 8 } },
      ],
    },
    /rotation with the scope shared goes into embedding and head/,
  ],
  [only({}), /every layer is ignored/],
  [
    only({ embeddingBits: 8 }, { layout: "pack-quantized" }),
    /it is the embedding, and the head too, which transformers/,
  ],
  [
    only({ embeddingBits: 8, headBits: 8 }, { layout: "pack-quantized" }),
    /it is the embedding, which transformers does not open .* leave out `embeddingBits`, or/,
    UNTIED,
  ],
  [only({ headBits: 8 }, { layout: "int-quantized" }), /lm_head.*8 bits by groups of 32/, UNTIED],
] as const) {
  test(`refuses ${JSON.stringify(recipe)}`, async () => {
    await refused(() => run(recipe as GivenRecipe, files), message);
  });
}

test("codes that are damaged are refused", async () => {
  const { files } = await run(only({ embeddingBits: 5 }), UNTIED);
  const { tensors, metadata } = parseWeights(files);
  const broken = async (ending: string, at: number, byte: number) => {
    const name = `${EMBEDDING}.weight_${ending}`;
    const { bytes, ...rest } = tensors.get(name)!;
    const changed = bytes.slice();
    changed[at] = byte;
    const all = new Map([...tensors, [name, { ...rest, bytes: changed }]]);
    const folder = await withWeights(files, all, {}, metadata);
    await (await openModel(await openCheckpoint(memoryFolder(folder)))).close();
  };
  await broken("packed", 3, 7);
  await refused(() => broken("shape", 0, 9), /weight_shape tells another shape/);
  const bytes = tensors.get(`${EMBEDDING}.weight_scale`)!.bytes;
  bytes[0] = 0x80;
  await refused(() => broken("scale", 1, 0x7f), /NaN or infinit/);
});

test.run();
