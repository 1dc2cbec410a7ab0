import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { describeRecipe } from "../../src/compress.js";
import { describeModel } from "../../src/models/describe.js";
import { memoryFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import {
  compressFiles,
  configOf,
  type Files,
  parseWeights,
  storyFiles,
} from "../compress/stories.js";

const test = suite("describing models and methods");
const describe = async (files: Files) =>
  describeModel(await openCheckpoint(memoryFolder(files, "model")));

test("a model is described by its files, packed or not", async () => {
  const dense = await describe(storyFiles());
  const { num_hidden_layers, vocab_size } = configOf(storyFiles());
  const shapes = [...parseWeights(storyFiles()).tensors.values()].map(({ shape }) => shape);
  const parameters = shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
  assert.equal(dense, {
    path: "model",
    family: "llama",
    blocks: num_hidden_layers,
    context: 256,
    vocabSize: vocab_size,
    parameters,
    bytes: 2 * parameters,
    layout: "dense",
  });
  const { files } = await compressFiles(storyFiles(), { sparsity: "2:4", layout: "two-four" });
  const packed = await describe(files);
  assert.ok(packed.bytes < 0.7 * dense.bytes);
  assert.equal({ ...packed, bytes: dense.bytes, layout: "dense" }, dense);
});

test("what cannot be run is refused without its weights being read", async () => {
  const { "tokenizer.json": _, ...others } = storyFiles();
  await refused(() => describe(others), /^\[model\] it has no tokenizer\.json; download it/);
  const config = JSON.stringify({ ...configOf(storyFiles()), model_type: "mamba" });
  const other = { ...storyFiles(), "config.json": new TextEncoder().encode(config) };
  await refused(() => describe(other), /^\[model\/config\.json\] .*"mamba"/);
  await refused(
    () => describeModel({} as never),
    /^\[describeModel\] source is .*, must be a model/,
  );
});

test("methods tell what they read", async () => {
  const { methods } = await describeRecipe();
  const reads = Object.fromEntries(methods.map((method) => [method.name, method.reads]));
  assert.equal(reads.magnitude, []);
  assert.equal(reads.wanda, ["columnSquares"]);
  assert.equal(reads.sparsegpt, ["hessian"]);
});

test.run();
