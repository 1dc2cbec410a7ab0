import { readFileSync } from "node:fs";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backends/index.js";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { compress } from "../../src/compress.js";
import { scoreWindows } from "../../src/evaluate/score.js";
import { loadDecoder } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { intsOf, readShared, SELECTION_METHODS, unpackBits } from "../golden.js";
import { note, sharedPath, sharedTest } from "../shared.js";

/** The protocol of golden/model-level/reference.json. */
const WINDOW = 256;
const CALIBRATION_TOKENS = 128 * WINDOW;
const EVALUATION_CHARACTERS = 200_000;

/** The runner has a test file at work on every core already. */
const ONE_THREAD = { threads: 1 } as const;

interface Limits {
  /** Largest relative difference of the perplexities. */
  readonly perplexity: number;
  /** Least share of equal mask bits. */
  readonly masks: number;
}

/**
 * Where the originals remove other weights than these methods say, results differ: at 50% they take
 * one more of each layer (magnitude) or block of columns (SparseGPT), and tinystories-656k has many
 * weights of the very same size, of which they choose any.
 */
function limitsOf(model: string, method: string, pattern: string): Limits {
  const isTied = model === "tinystories-656k" && method === "magnitude";
  if (isTied) return { perplexity: 0.02, masks: 0.998 };
  const countsDiffer = pattern === "50" && (method === "magnitude" || method === "sparsegpt");
  return { perplexity: 0.01, masks: countsDiffer ? 0.998 : 0.9998 };
}

function readText(name: string): string {
  return readFileSync(sharedPath("data", "tinystories", name), "utf8");
}

/** Perplexity over all windows of the ids. */
async function perplexityOf(checkpoint: Checkpoint, ids: Int32Array): Promise<number> {
  const backend = await openBackend("auto", ONE_THREAD);
  try {
    const model = readModel(checkpoint);
    const decoder = await loadDecoder(model, backend, WINDOW);
    const work = scoreWindows({ backend, decoder, spec: model.spec }, ids, WINDOW);
    for (;;) {
      const step = await work.next();
      if (step.done) return step.value.perplexity;
    }
  } finally {
    backend.dispose();
  }
}

/** Share of mask bits that a pruned model has in common with the original's. */
async function maskAgreement(pruned: Checkpoint, golden: string): Promise<number> {
  const masks = await readShared("golden", "model-level", `${golden}.masks.safetensors`);
  let [same, all] = [0, 0];
  for (const [name, { shape }] of masks.tensors) {
    const weight = await pruned.readFloat32(`model.layers.${name}.weight`);
    const mask = unpackBits(await masks.read(name), shape[0], weight.length / shape[0]);
    all += mask.length;
    mask.forEach((kept, i) => {
      if (kept === (weight[i] !== 0 ? 1 : 0)) same++;
    });
  }
  assert.ok(all > 0);
  return same / all;
}

function assertNear(actual: number, expected: number, limit: number): void {
  const gap = Math.abs(actual / expected - 1);
  assert.ok(gap <= limit, `perplexity ${actual}, not ${expected} within ${limit * 100}%`);
}

async function pruneModel(
  model: string,
  method: string,
  pattern: string,
  calibration: string,
  // The original takes NoWag's statistics from the dense model.
  statistics: FlatRecipe["statistics"] = method === "nowag" ? "dense" : "sequential",
): Promise<Checkpoint> {
  const out = memoryOutputFolder();
  const recipe = {
    method,
    sparsity: pattern === "24" ? "2:4" : "50%",
    statistics,
    layerError: false,
  };
  const options = { model: sharedPath("models", model), out, calibration, recipe };
  await compress({ ...options, ...ONE_THREAD }).result();
  return openCheckpoint(memoryFolder(out.files));
}

/**
 * Prunes a model end to end by every method and holds masks and perplexities against those of the
 * original programs. Each model has a test file of its own, so that the two run side by side.
 *
 * @param characters of calibration text, enough for the tokens wanted: what lies behind them does
 *   not change those, and takes long to tokenise
 */
export function testModel(test: Test, model: string, characters: number): void {
  const reference = () => {
    const path = sharedPath("golden", "model-level", "reference.json");
    return JSON.parse(readFileSync(path, "utf8")).models[model];
  };
  const calibration = () => readText("train-slice.txt").slice(0, characters);
  let evaluation: Int32Array = new Int32Array();
  const figures: string[] = [];

  sharedTest(test, `${model}: texts become the same tokens`, async () => {
    const tokens = await readShared("golden", "model-level", `${model}.tokens.safetensors`);
    const checkpoint = await openCheckpoint(sharedPath("models", model));
    const tokenizer = await loadTokenizer(checkpoint.folder);
    await checkpoint.close();
    evaluation = tokenizer.encode(readText("val.txt").slice(0, EVALUATION_CHARACTERS));
    assert.equal(evaluation, await intsOf(tokens, "eval_all"));
    const windows = tokenizer.encode(calibration()).slice(0, CALIBRATION_TOKENS);
    assert.equal(windows, await intsOf(tokens, "calib"));
  });

  sharedTest(test, `${model}: the perplexity of the dense model`, async () => {
    const checkpoint = await openCheckpoint(sharedPath("models", model));
    const perplexity = await perplexityOf(checkpoint, evaluation);
    await checkpoint.close();
    assertNear(perplexity, reference().dense.ppl, 1e-4);
    figures.push(`dense ${perplexity.toFixed(3)}`);
  });

  for (const method of SELECTION_METHODS) {
    for (const pattern of ["24", "50"]) {
      const what = method + pattern;
      sharedTest(test, `${model}: ${what} as by the original program`, async () => {
        const limits = limitsOf(model, method, pattern);
        const pruned = await pruneModel(model, method, pattern, calibration());
        const agreement = await maskAgreement(pruned, `${model}.${what}`);
        assert.ok(agreement >= limits.masks, `${agreement} of the mask bits agree`);
        const perplexity = await perplexityOf(pruned, evaluation);
        const expected = reference()[what].ppl;
        assertNear(perplexity, expected, limits.perplexity);
        const gap = ((perplexity / expected - 1) * 100).toFixed(2);
        figures.push(`${what} ${perplexity.toFixed(2)} (${gap}%)`);
      });
    }
  }

  sharedTest(test, `${model}: pruned blocks change the statistics of later ones`, async () => {
    const pruned = await pruneModel(model, "nowag", "24", calibration(), "sequential");
    const agreement = await maskAgreement(pruned, `${model}.nowag24`);
    // The first block sees the same inputs either way.
    assert.ok(agreement > 0.5 && agreement < 0.9998, `${agreement} of the mask bits agree`);
  });

  sharedTest(test, `${model}: the figures`, async () => {
    assert.is(figures.length, 1 + 2 * SELECTION_METHODS.length);
    note(`${model}, perplexity and its distance from the original's: ${figures.join(", ")}`);
  });
}
