import { readdirSync, readFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { sha256 } from "../../src/digest.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { memoryFolder } from "../../src/platform/files.js";
import { VERSION } from "../../src/version.js";
import { MODES } from "../backends/instance.js";
import { refused } from "../checkpoint/crafted.js";
import { MODEL, scratch } from "../cli/program.js";
import { note, repositoryRoot } from "../shared.js";
import {
  CALIBRATION,
  type Compressed,
  compressFiles,
  convert,
  EVALUATION,
  type Files,
  floats,
  parseWeights,
  QUICK,
  sameFiles,
  storyFiles,
  withWeights,
} from "./stories.js";

const test = suite("compress output");
const stories = storyFiles();
const LINEAR = /\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.weight$/;

/** The files that must not differ from run to run. */
function lasting(files: Files): Files {
  const { "penjing-report.json": report, ...rest } = files;
  assert.ok(report, "the report is there");
  return rest;
}

for (const layout of ["dense", "two-four"]) {
  for (const shardBytes of [undefined, 300_000]) {
    const title = `${layout}, ${shardBytes ? "sharded" : "one file"}`;
    test(`the same input gives the same bytes: ${title}`, async () => {
      const [one, two] = await Promise.all(
        [0, 1].map(() => compressFiles(stories, { layout }, { shardBytes })),
      );
      sameFiles(lasting(one.files), lasting(two.files));
      const shards = Object.keys(one.files).filter((name) => name.endsWith(".safetensors"));
      assert.is(shards.length > 1, shardBytes !== undefined);
      assert.is("model.safetensors.index.json" in one.files, shardBytes !== undefined);
    });
  }
}

test("a folder on the disk gets the same bytes as one in memory", async () => {
  const out = join(scratch(test), "out");
  await compress({ model: MODEL, out, calibration: CALIBRATION, recipe: QUICK }).result();
  const { files } = await compressFiles(stories);
  const expected = lasting(files);
  const kept = readdirSync(out).filter((name) => !/\.txt$|report/.test(name));
  sameFiles(
    Object.fromEntries(kept.map((name) => [name, readFileSync(join(out, name))])),
    expected,
  );
});

test("what is not pruned is carried over, byte by byte", async () => {
  const extra = {
    "notes/readme.md": new TextEncoder().encode("# notes"),
    "generation_config.json": new TextEncoder().encode('{"do_sample":true}'),
    "pytorch_model.bin": Uint8Array.of(1, 2, 3),
  };
  const input = await withWeights(
    { ...stories, ...extra },
    parseWeights(stories).tensors,
    {},
    { author: "somebody", format: "pt" },
  );
  const { files } = await compressFiles(input);
  for (const [name, bytes] of Object.entries(input)) {
    if (name === "model.safetensors") continue;
    // Weights of another format would be stale.
    if (name === "pytorch_model.bin") assert.not(name in files);
    else assert.is(Buffer.compare(files[name], bytes), 0, name);
  }
  const [before, after] = [parseWeights(input), parseWeights(files)];
  assert.equal({ ...after.metadata }, { author: "somebody", format: "pt" });
  assert.equal([...after.tensors.keys()], [...before.tensors.keys()]);
  for (const [name, stored] of before.tensors) {
    const now = after.tensors.get(name)!;
    assert.is(now.dtype, stored.dtype);
    assert.equal(now.shape, stored.shape);
    const isSame = Buffer.compare(now.bytes, stored.bytes) === 0;
    assert.is(isSame, !LINEAR.test(name), name);
  }
});

test("the dense output is 2:4 for any reader", async () => {
  const { files, result } = await compressFiles(stories);
  let checked = 0;
  for (const [name, stored] of parseWeights(files).tensors) {
    if (!LINEAR.test(name)) continue;
    const values = floats(stored);
    for (let i = 0; i < values.length; i += 4) {
      const kept = values.subarray(i, i + 4).filter((value) => value !== 0).length;
      assert.ok(kept <= 2, `${name} at ${i}`);
    }
    checked++;
  }
  assert.is(checked, 28);
  assert.is(result.totals.removed, 0.5);
  assert.is(result.totals.bytesAfter, result.totals.bytesBefore);
});

test("overrides and ignore leave what they name as it was", async () => {
  const { files, result } = await compressFiles(stories, {
    ignore: ["model.layers.0.*", "*.o_proj"],
    overrides: [{ match: "*.mlp.*", method: "magnitude", sparsity: "50%" }],
  });
  const [before, after] = [parseWeights(stories), parseWeights(files)];
  for (const [name, { bytes }] of before.tensors) {
    const isPruned = LINEAR.test(name) && !/layers\.0\.|o_proj/.test(name);
    const isSame = Buffer.compare(after.tensors.get(name)!.bytes, bytes) === 0;
    assert.is(isSame, !isPruned, name);
  }
  assert.is(result.layers.length, 3 * 6);
  for (const { name, method, sparsity } of result.layers) {
    const expected = name.includes("mlp") ? ["magnitude", "50%"] : ["sparsegpt", "2:4"];
    assert.equal([method, sparsity], expected, name);
  }
});

test("two-four is smaller, opens again, and scores as its dense twin", async () => {
  const dense = await compressFiles(stories);
  const packed = await compressFiles(stories, { layout: "two-four" });
  const { layerBytesBefore, layerBytesAfter } = packed.result.totals;
  // bf16: 2 of 4 values and 4 bits of 64.
  assert.is(layerBytesAfter / layerBytesBefore, 0.5625);
  const text = EVALUATION.slice(0, 4000);
  const [one, two] = await Promise.all(
    [dense, packed].map(async ({ files }) => {
      const model = await openCheckpoint(memoryFolder(files, "scored"));
      return evaluatePerplexity({ model, text, window: 128 }).result();
    }),
  );
  const difference = Math.abs(two.perplexity / one.perplexity - 1);
  note(`two-four against dense: relative perplexity difference ${difference.toExponential(1)}`);
  assert.ok(difference < 1e-5, `${one.perplexity} and ${two.perplexity}`);
});

test("a compressed folder can be compressed again", async () => {
  const first = await compressFiles(stories, { layout: "two-four" });
  const again = { method: "magnitude", layout: "two-four" };
  const second = await compressFiles(first.files, again);
  // Nothing is left to remove, so the same weights come out.
  const weights = ({ files }: Compressed) =>
    Object.fromEntries([...parseWeights(files).tensors].map(([name, { bytes }]) => [name, bytes]));
  sameFiles(weights(second), weights(first));
  const { recipe } = JSON.parse(new TextDecoder().decode(second.files["penjing.json"]));
  assert.is(recipe.steps[0].prune.method, "magnitude");
  assert.equal(Object.keys(second.files).sort(), Object.keys(first.files).sort());
  // Into the dense layout the mark goes away with the packing.
  const third = await compressFiles(first.files, { method: "magnitude" });
  const dense = await compressFiles(stories);
  sameFiles(weights(third), weights(dense));
  assert.equal({ ...parseWeights(third.files).metadata }, { format: "pt" });
});

test("the side file says what was done, and nothing of when or where", async () => {
  const { files, result } = await compressFiles(stories, { layout: "two-four", seed: 5 });
  const text = new TextDecoder().decode(files["penjing.json"]);
  const side = JSON.parse(text);
  assert.is(side.penjing, VERSION);
  assert.equal(side.model, { family: "llama", layers: 4, hiddenSize: 128, vocabSize: 1024 });
  assert.is(side.recipe.seed, 5);
  assert.equal(side.recipe.steps, [
    {
      prune: {
        method: "sparsegpt",
        sparsity: "2:4",
        damping: 0.01,
        blockSize: 128,
        anchor: 0,
        anchorResidual: 0,
        anchorDamping: 0.01,
        refit: 0,
      },
      ignore: ["lm_head", "model.embed_tokens"],
    },
  ]);
  assert.is(side.backend, "wasm");
  for (const simd of MODES) {
    const other = await compressFiles(stories, {}, { simd });
    const { arithmetic } = JSON.parse(new TextDecoder().decode(other.files["penjing.json"]));
    assert.is(arithmetic, `${simd} SIMD`);
  }
  assert.is(side.calibration.sha256, await sha256(CALIBRATION));
  assert.is(side.calibration.samples, 4);
  assert.is(side.calibration.unknownTokens, 0);
  assert.equal(side.totals, { ...result.totals });
  assert.is(side.layers.length, 28);
  for (const layer of side.layers) {
    assert.is(layer.removed, 0.5);
    assert.ok(layer.layerError > 0 && layer.layerError < 1, layer.name);
    assert.ok(layer.figures.predictedLoss > 0, layer.name);
  }
  for (const place of [repositoryRoot, homedir(), tmpdir()]) {
    if (place !== "/") assert.not.ok(text.includes(place), place);
  }
  assert.not.match(text, /second|time|date|peak/i);
  const report = JSON.parse(new TextDecoder().decode(files["penjing-report.json"]));
  assert.is(report.version, 2);
  for (const place of [repositoryRoot, homedir(), tmpdir()]) {
    if (place !== "/") assert.not.ok(JSON.stringify(report).includes(place), place);
  }
});

test("other dtypes stay what they are; what cannot be packed is refused before the work", async () => {
  const { files } = await compressFiles(await convert(stories, "F32"), { layout: "two-four" });
  for (const [name, { dtype }] of parseWeights(files).tensors) {
    assert.is(dtype, name.endsWith(".indices") ? "U8" : "F32", name);
  }
  const wide = await convert(stories, "F64");
  const dense = parseWeights((await compressFiles(wide)).files);
  assert.is(dense.tensors.get("model.layers.0.mlp.up_proj.weight")?.dtype, "F64");
  await refused(
    () => compressFiles(wide, { layout: "two-four" }),
    /^\[layout\] model\.layers\.0\..*F64 cannot be stored 2:4/,
  );
});

test.run();
