import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../src/backends/index.js";
import { type Checkpoint, openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { evaluatePerplexity } from "../src/evaluate.js";
import { exportModel } from "../src/export.js";
import { loadDecoder } from "../src/models/open.js";
import { hasExtras, readModel } from "../src/models/stored.js";
import { memoryFolder, memoryOutputFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import {
  compressFiles,
  convert,
  EVALUATION,
  type Files,
  parseWeights,
  type Stored,
  storyFiles,
  withWeights,
} from "./compress/stories.js";
import { ARMOR, exportFiles, tensorBytes } from "./exported.js";
import { tinyCheckpoint, tinyTensor } from "./models/tiny.js";
import { note } from "./shared.js";

const test = suite("export, reconstructed");
const TEXT = EVALUATION.slice(0, 4000);

async function perplexity(files: Files): Promise<number> {
  const model = await openCheckpoint(memoryFolder(files));
  return (await evaluatePerplexity({ model, text: TEXT, window: 64 }).result()).perplexity;
}

/** Logits of a few tokens of a model with a vocabulary of 10. */
async function logits(checkpoint: Checkpoint): Promise<Float32Array> {
  const backend = await openBackend("wasm");
  const decoder = await loadDecoder(readModel(checkpoint), backend, 8);
  const out = backend.zeros([8, 10]);
  decoder.logits(Int32Array.from([1, 2, 3, 5, 8, 3, 0, 9]), out);
  return (await backend.read(out)) as Float32Array;
}

/** A folder with one tensor's bytes changed. */
async function edited(
  files: Files,
  name: string,
  change: (values: Float32Array) => void,
): Promise<Files> {
  const { tensors, metadata } = parseWeights(files);
  const weights = new Map(tensors);
  const stored = weights.get(name)!;
  const bytes = stored.bytes.slice();
  change(new Float32Array(bytes.buffer));
  return withWeights(files, weights.set(name, { ...stored, bytes }), {}, metadata);
}

/** Biases on all linears, as some models of the family have them. */
async function withBiases(files: Files): Promise<Files> {
  const weights = new Map<string, Stored>();
  for (const [name, stored] of parseWeights(files).tensors) {
    weights.set(name, stored);
    if (!name.endsWith("_proj.weight")) continue;
    const values = Float32Array.from({ length: stored.shape[0] }, (_, i) => 0.2 * Math.sin(i + 1));
    const bytes = new Uint8Array(values.buffer);
    const bias = { dtype: "F32", shape: [stored.shape[0]], bytes };
    weights.set(name.replace(/weight$/, "bias"), bias);
  }
  return withWeights(files, weights, { attention_bias: true, mlp_bias: true });
}

const STEPS = { steps: 5 };
for (const [title, recipe, prepare] of [
  ["ARMOR", ARMOR],
  ["ARMOR, packed", { ...ARMOR, layout: "two-four" }],
  ["a rotation of each block", { rotate: STEPS }],
  ["a rotation of each block, packed", { rotate: STEPS, layout: "two-four" }],
  ["rotations of two groups", { rotate: { ...STEPS, scope: "groups:2" } }],
  ["one rotation for all, at run time", { rotate: { ...STEPS, scope: "groups:1" } }],
  ["a rotation and ARMOR", { ...ARMOR, rotate: STEPS, layout: "two-four" }],
  ["rotations of a model with biases", { rotate: { ...STEPS, scope: "groups:3" } }, withBiases],
] as const) {
  test(`reconstructed, a plain checkpoint computes the same: ${title}`, async () => {
    const wide = await convert(storyFiles(), "F32");
    const original = prepare ? await prepare(wide) : wide;
    const { files } = await compressFiles(original, recipe);
    const plain = await exportFiles(files, { reconstruct: true });
    const [expected, actual] = [await perplexity(files), await perplexity(plain.files)];
    const difference = Math.abs(actual / expected - 1);
    note(`reconstructed, ${title}: relative perplexity difference ${difference.toExponential(1)}`);
    assert.ok(difference <= 1e-5, `${actual} is not ${expected}`);
    assert.is(plain.result.reconstructed, 28);
    assert.is(plain.result.layoutAfter, "dense");
    const checkpoint = await openCheckpoint(memoryFolder(plain.files));
    assert.is(hasExtras(readModel(checkpoint)), false);
    assert.equal({ ...checkpoint.metadata }, { format: "pt" });
    const before = parseWeights(original).tensors;
    assert.equal([...checkpoint.tensors.keys()].sort(), [...before.keys()].sort());
    for (const [name, { shape, dtype }] of checkpoint.tensors) {
      assert.equal([shape, dtype], [before.get(name)!.shape, before.get(name)!.dtype], name);
    }
    // What is no longer held in forms is no longer listed, and nothing else changes.
    const { forms, ...side } = JSON.parse(new TextDecoder().decode(files["penjing.json"]));
    const text = `${JSON.stringify(side, null, 2)}\n`;
    assert.is(new TextDecoder().decode(plain.files["penjing.json"]), text);
    assert.is(Object.keys(forms ?? {}).length, title.includes("ARMOR") ? 28 : 0);
    assert.not("penjing-report.json" in plain.files);
  });
}

test("wide layers are reconstructed panel by panel, from the first turn on", async () => {
  const hidden = 1040;
  const orthogonal = Float32Array.from({ length: hidden ** 2 }, (_, i) => {
    // Two reflections: not symmetric, so that Q and its transpose are told apart.
    const [row, col] = [Math.floor(i / hidden), i % hidden];
    const swapped = (row + 1) % hidden;
    return (swapped === col ? 1 : 0) - 2 / hidden;
  });
  const back = orthogonal.map((_, i) => orthogonal[(i % hidden) * hidden + Math.floor(i / hidden)]);
  const square = (name: string, values: Float32Array) =>
    tinyTensor(name, [hidden, hidden], "F32", new Uint8Array(values.buffer));
  const config = { hidden_size: hidden, head_dim: 8, intermediate_size: 2080 };
  const model = await tinyCheckpoint(config, (tensors) => {
    const add = (tensor: ReturnType<typeof tinyTensor>) => tensors.set(tensor.entry.name, tensor);
    add(square("model.layers.1.input_rotation", orthogonal));
    add(square("model.output_rotation", back));
    for (const norm of ["input", "post_attention"]) {
      const gains = new Uint8Array(new Float32Array(hidden).fill(1).buffer);
      add(tinyTensor(`model.layers.1.${norm}_layernorm.weight`, [hidden], "F32", gains));
    }
    for (const name of ["layers.0.mlp.up_proj", "layers.1.mlp.up_proj", "layers.1.mlp.down_proj"]) {
      const [rows, cols] = name.includes("up") ? [2080, hidden] : [hidden, 2080];
      add(tinyTensor(`model.${name}.weight.sandwich.left`, [rows / 26, 26, 26]));
      add(tinyTensor(`model.${name}.weight.sandwich.right`, [cols / 20, 20, 20]));
    }
  });
  const out = memoryOutputFolder();
  const { reconstructed } = await exportModel({ model, out, reconstruct: true }).result();
  assert.is(reconstructed, 1 + 7);
  const plain = await openCheckpoint(memoryFolder(out.files));
  const unturned = "model.layers.0.mlp.down_proj.weight";
  assert.is(Buffer.compare(await plain.read(unturned), await model.read(unturned)), 0);
  const [expected, actual] = [await logits(model), await logits(plain)];
  const largest = Math.max(...expected.map(Math.abs));
  const off = Math.max(...actual.map((value, i) => Math.abs(value - expected[i])));
  note(`reconstructed, wide layers: logits differ by ${(off / largest).toExponential(1)}`);
  assert.ok(off < 1e-4 * largest, `${off} of ${largest}`);
});

test("a reconstructed weight is rounded to its dtype", async () => {
  const { files } = await compressFiles(storyFiles(), { ...ARMOR, rotate: STEPS });
  const { files: plain } = await exportFiles(files, { reconstruct: true });
  for (const [name, { dtype }] of parseWeights(plain).tensors) assert.is(dtype, "BF16", name);
  const [expected, actual] = [await perplexity(files), await perplexity(plain)];
  assert.ok(Math.abs(actual / expected - 1) < 0.01, `${actual} is not ${expected}`);
});

test("only what a sandwich or a rotation touches is computed anew", async () => {
  const recipe = { ...ARMOR, ignore: ["*.mlp.*"] };
  const { files } = await compressFiles(storyFiles(), recipe);
  const { files: plain, result } = await exportFiles(files, { reconstruct: true });
  assert.is(result.reconstructed, 4 * 4);
  const [before, after] = [tensorBytes(files), tensorBytes(plain)];
  for (const name of Object.keys(after)) {
    const isSame = Buffer.compare(after[name], before[name]) === 0;
    assert.is(isSame, !name.includes("self_attn"), name);
  }
});

test("rotations that cannot be undone are refused", async () => {
  const { files } = await compressFiles(await convert(storyFiles(), "F32"), {
    method: "magnitude",
    rotate: { ...STEPS, scope: "groups:2" },
  });
  for (const [name, change, message] of [
    [
      "model.output_rotation",
      (values: Float32Array) => values.set([values[0] + 0.01]),
      /rotations do not undo one another: .* off the identity by 0\.0\d+, must be within 0\.001/,
    ],
    [
      "model.layers.2.input_rotation",
      (values: Float32Array) => values.set(values.map((value) => 1.01 * value)),
      /up to model\.layers\.2\.input_rotation are off an orthogonal matrix by 0\.02/,
    ],
    [
      "model.layers.1.post_attention_layernorm.weight",
      (values: Float32Array) => values.set([0.5], 3),
      /model\.layers\.1\.post_attention_layernorm\.weight holds 0\.5, must hold 1 alone/,
    ],
    [
      "model.layers.3.mlp.up_proj.weight",
      (values: Float32Array) => values.set([Number.NaN], 7),
      /\d+ values of model\.layers\.3\.mlp\.up_proj\.weight are NaN or beyond F32/,
    ],
  ] as const) {
    const damaged = await edited(files, name, change);
    await refused(() => exportFiles(damaged, { reconstruct: true }), message);
    // Carrying them over asks nothing of them.
    assert.is((await exportFiles(damaged)).result.reconstructed, 0);
  }
  const weights = new Map(parseWeights(files).tensors);
  weights.delete("model.output_rotation");
  const open = await withWeights(files, weights, {}, parseWeights(files).metadata);
  await refused(() => exportFiles(open, { reconstruct: true }), /do not undo one another/);
});

test.run();
