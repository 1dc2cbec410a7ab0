import { readFileSync } from "node:fs";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { compress } from "../../src/compress.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { note, sharedPath, sharedTest } from "../shared.js";

/** Characters of text: enough to calibrate either on 128 windows of 256 tokens. */
const CALIBRATION_CHARACTERS = 400_000;

/** The runner has a test file at work on every core already. */
const WASM = { backend: "wasm", threads: 1 } as const;

/** Anchors for a layer's inputs and for the residual stream. */
const BOTH: FlatRecipe = { refit: 10, anchor: 0.5, anchorResidual: 0.5 };

/** What closes at least this share of a pruner's gap to the dense model, in log perplexity. */
const BARS: readonly (readonly [of: string, options: FlatRecipe, share: number])[] = [
  ["sparsegpt", { refit: 10 }, 0.1],
  ["sparsegpt", { refit: 10, anchor: 0.5 }, 0.2],
  ["wanda", { refit: 10, anchor: 0.5 }, 0.35],
  ["sparsegpt", { refit: 10, anchor: 0.5, statistics: "true-sequential" }, 0.33],
  ["sparsegpt", { ...BOTH, statistics: "true-sequential" }, 0.37],
];

function readText(name: string): string {
  return readFileSync(sharedPath("data", "tinystories", name), "utf8");
}

/**
 * Prunes a model to 2:4 with anchor and refit, which must close a part of each pruner's gap.
 *
 * @param characters of text to evaluate on: some 110 windows of 256 tokens
 */
export function testAnchored(test: Test, name: string, characters: number): void {
  const texts = {
    calibration: () => readText("train-slice.txt").slice(0, CALIBRATION_CHARACTERS),
    evaluation: () => readText("val.txt").slice(0, characters),
  };
  const perplexityOf = async (model: Parameters<typeof evaluatePerplexity>[0]["model"]) => {
    const options = { model, text: texts.evaluation(), window: 256, ...WASM };
    return (await evaluatePerplexity(options).result()).perplexity;
  };
  let known: Promise<number> | undefined;
  const densePerplexity = () => {
    known ??= perplexityOf(sharedPath("models", name));
    return known;
  };
  const runs = new Map<string, Promise<number>>();
  const pruned = (recipe: FlatRecipe): Promise<number> => {
    const key = JSON.stringify(recipe);
    const run = async () => {
      const out = memoryOutputFolder();
      const model = sharedPath("models", name);
      const calibration = texts.calibration();
      const given = { ...recipe, layerError: false };
      await compress({ model, out, calibration, recipe: given, ...WASM }).result();
      return perplexityOf(await openCheckpoint(memoryFolder(out.files)));
    };
    const found = runs.get(key) ?? run();
    runs.set(key, found);
    return found;
  };
  const figures: string[] = [];

  for (const [method, options, share] of BARS) {
    const what = `${method} with ${JSON.stringify(options)}`;
    sharedTest(test, `${name}: ${what} closes ${share * 100}% of the gap`, async () => {
      const dense = await densePerplexity();
      const [before, after] = [await pruned({ method }), await pruned({ method, ...options })];
      const closed = 1 - Math.log(after / dense) / Math.log(before / dense);
      const text = `${before.toFixed(2)} to ${after.toFixed(2)} of ${dense.toFixed(2)}`;
      figures.push(`${what}: ${text}, ${(closed * 100).toFixed(0)}%`);
      assert.ok(closed >= share, `${text} closes ${closed}`);
    });
  }

  sharedTest(test, `${name}: admm is no worse than sparsegpt with both`, async () => {
    const both = { refit: 10, anchor: 0.5 };
    const admm = await pruned({ method: "admm", ...both });
    figures.push(`admm with both ${admm.toFixed(2)}`);
    assert.ok(admm <= (await pruned({ method: "sparsegpt", ...both })), `${admm}`);
    note(`${name}: ${figures.join("; ")}`);
  });
}
