import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { memoryFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import { compressFiles, convert, EVALUATION, type Files, storyFiles } from "./stories.js";

const test = suite("compress with factors and rotations");
const TEXT = EVALUATION.slice(0, 6000);
const ARMOR: FlatRecipe = {
  method: "armor",
  options: { iterations: 30, learningRate: 1e-3, blockSize: 16 },
};

async function perplexity(files: Files): Promise<number> {
  const model = await openCheckpoint(memoryFolder(files));
  return (await evaluatePerplexity({ model, text: TEXT, window: 64 }).result()).perplexity;
}

function near(actual: number, expected: number, relative: number): void {
  assert.ok(Math.abs(actual / expected - 1) <= relative, `${actual} is not ${expected}`);
}

test("a rotation alone changes nothing but by rounding to the checkpoint's dtype", async () => {
  const { files } = await compressFiles(storyFiles(), {
    method: "magnitude",
    sparsity: "0%",
    rotate: { steps: 3 },
  });
  // The weights are bf16, with 8 bits; turned ones are rounded anew.
  near(await perplexity(files), await perplexity(storyFiles()), 0.01);
  const { tensors } = await openCheckpoint(memoryFolder(files));
  assert.equal(tensors.get("model.layers.3.input_rotation")?.shape, [128, 128]);
  assert.equal(tensors.get("model.output_rotation")?.shape, [128, 128]);
});

test("in float32 a rotation alone changes the perplexity by less than 1e-5", async () => {
  const model = await convert(storyFiles(), "F32");
  const recipe = { method: "magnitude", sparsity: "0%", rotate: { steps: 10 } };
  const { files } = await compressFiles(model, recipe);
  near(await perplexity(files), await perplexity(model), 1e-5);
});

test("a rotation before pruning loses less, for each method", async () => {
  for (const method of ["sparsegpt", "wanda"]) {
    const recipe = { method, samples: 32, length: 64 };
    const { files: plain } = await compressFiles(storyFiles(), recipe);
    const { files: turned } = await compressFiles(storyFiles(), {
      ...recipe,
      rotate: { steps: 40 },
    });
    const [before, after] = [await perplexity(plain), await perplexity(turned)];
    assert.ok(after < before, `${method}: ${after} with the rotation, ${before} without`);
  }
});

test("a sandwich runs packed as it runs dense, and is counted in the bytes", async () => {
  const dense = await compressFiles(storyFiles(), ARMOR);
  const packed = await compressFiles(storyFiles(), { ...ARMOR, layout: "two-four" });
  near(await perplexity(packed.files), await perplexity(dense.files), 1e-5);
  const { layerBytesBefore, layerBytesAfter } = packed.result.totals;
  // 9/16 for the packed core; blocks of 16 add 16 * (rows + cols) values to rows * cols.
  assert.ok(layerBytesAfter > 0.5625 * layerBytesBefore && layerBytesAfter < layerBytesBefore);
  for (const { figures, curve, layerError } of dense.result.layers) {
    assert.ok(figures.proxyAfter <= figures.proxyBefore);
    assert.ok(curve!.length >= 2 && layerError! > 0 && layerError! < 1);
  }
});

test("rotated and factorised at once, twice the same bytes", async () => {
  const recipe = { ...ARMOR, layout: "two-four", rotate: { steps: 5 } };
  const [a, b] = [
    await compressFiles(storyFiles(), recipe),
    await compressFiles(storyFiles(), recipe),
  ];
  for (const name of ["model.safetensors", "penjing.json"]) {
    assert.is(Buffer.compare(a.files[name], b.files[name]), 0, name);
  }
  assert.ok((await perplexity(a.files)) < 2 * (await perplexity(storyFiles())));
});

test("ignored layers of a rotated block are turned too", async () => {
  const recipe = { ignore: ["*.mlp.*"], method: "magnitude", sparsity: "0%" };
  const { files } = await compressFiles(storyFiles(), { ...recipe, rotate: { steps: 3 } });
  near(await perplexity(files), await perplexity(storyFiles()), 0.01);
});

test("what cannot be done is refused", async () => {
  const { files } = await compressFiles(storyFiles(), { ...ARMOR, layout: "two-four" });
  await refused(() => compressFiles(files, { method: "magnitude" }), /compress the original/);
  await refused(() => compressFiles(storyFiles(), { ...ARMOR, sparsity: "50%" }), /core is 2:4/);
  const typo = { rotate: { step: 5 } } as unknown as FlatRecipe;
  await refused(() => compressFiles(storyFiles(), typo), /did you mean "steps"/);
  await refused(
    () => compressFiles(storyFiles(), { rotate: { blockSize: 48 } }),
    /48.*divide|divide.*48/,
  );
});

test("an abort inside an optimisation leaves nothing", async () => {
  const abort = new AbortController();
  const started = performance.now();
  const work = compressFiles(
    storyFiles(),
    { method: "armor", options: { iterations: 1_000_000, patience: 1_000_000 } },
    { signal: abort.signal },
  );
  setTimeout(() => abort.abort(), 1500);
  let reason: unknown;
  await work.catch((error: unknown) => {
    reason = error;
  });
  assert.ok(reason instanceof DOMException, String(reason));
  assert.ok(performance.now() - started < 10_000);
});

test.run();
