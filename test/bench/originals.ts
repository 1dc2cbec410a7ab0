import { readFileSync } from "node:fs";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import type { Recipe } from "../../src/recipe.js";
import { hasShared, sharedPath } from "../shared.js";
import type { BenchOptions, Figure } from "./measure.js";

/** A run of an original program in golden/model-level/reference.json, and ours like it. */
interface Pair {
  readonly original: string;
  readonly name: string;
  readonly recipe: Partial<Recipe>;
}

const ROTATE = { steps: 100 };

const PAIRS: readonly Pair[] = [
  {
    original: "denoise_sparsegpt24_steps100",
    name: "rotated sparsegpt 2:4",
    recipe: { method: "sparsegpt", rotate: ROTATE },
  },
  {
    original: "denoise_sparsegpt24_steps100",
    name: "rotated sparsegpt 2:4, scoreDamping 0",
    recipe: { method: "sparsegpt", rotate: { ...ROTATE, scoreDamping: 0 } },
  },
  {
    original: "denoise_wanda24_steps100",
    name: "rotated wanda 2:4",
    recipe: { method: "wanda", rotate: ROTATE },
  },
];

/**
 * Perplexity of rotated models beside that of the original program on the same protocol: 128
 * calibration windows of 256 tokens, 200,000 characters of evaluation. Needs ../shared.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  if (!hasShared()) return [];
  const reference = JSON.parse(
    readFileSync(sharedPath("golden", "model-level", "reference.json"), "utf8"),
  );
  const text = (name: string) => readFileSync(sharedPath("data", "tinystories", name), "utf8");
  // So much holds the calibration tokens of either model.
  const calibration = text("train-slice.txt").slice(0, 180_000);
  const evaluation = text("val.txt").slice(0, 200_000);
  const figures: Figure[] = [];
  for (const model of quick ? ["stories260k"] : ["stories260k", "tinystories-656k"]) {
    for (const { original, name, recipe } of PAIRS) {
      const out = memoryOutputFolder();
      const source = sharedPath("models", model);
      await compress({ model: source, out, calibration, recipe }).result();
      const pruned = await openCheckpoint(memoryFolder(out.files));
      const score = evaluatePerplexity({ model: pruned, text: evaluation, window: 256 });
      const value = (await score.result()).perplexity;
      const peer = reference.models[model][original].ppl;
      const against = `${original}, ${peer.toFixed(3)}`;
      figures.push({
        name: `${model} ${name}`,
        value,
        unit: "perplexity",
        ratio: value / peer,
        against,
      });
    }
  }
  return figures;
}
