import { readFileSync } from "node:fs";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { hasShared, sharedPath } from "../shared.js";
import { measure, sharedCases } from "./cases.js";
import type { BenchOptions, Figure } from "./measure.js";

/** A run of an original program in golden/model-level/reference.json, and ours at equal steps. */
interface Pair {
  readonly original: string;
  readonly name: string;
  readonly recipe: FlatRecipe;
}

/** Rotated by the published loss or by penjing's own. */
function rotated(method: "sparsegpt" | "wanda", steps: number): Pair[] {
  return (["entropy", "removed"] as const).map((loss) => ({
    original: `denoise_${method}24_steps${steps}`,
    name: `rotated ${method} 2:4, ${steps} steps, ${loss}`,
    recipe: { method, rotate: { steps, loss } },
  }));
}

/**
 * As published, and with the rounds that are the default. With dense statistics, as the original. On
 * stories260k its blocks of gate, up and down are 4, as 172 is not divisible by 32.
 */
function armor(model: string, learningRate: number, iterations: number, original: string): Pair[] {
  const overrides =
    model === "stories260k" ? [{ match: "*.mlp.*", options: { blockSize: 4 } }] : [];
  const options = { blockSize: 32, learningRate, iterations };
  const recipe = { method: "armor", options, overrides, statistics: "dense" } as const;
  const name = `armor block 32, ${iterations} iterations of ${learningRate}`;
  return [
    { original, name, recipe },
    {
      original,
      name: `${name}, no rounds`,
      recipe: { ...recipe, options: { ...options, rounds: 0 } },
    },
  ];
}

function pairsOf(model: string): Pair[] {
  return [
    ...rotated("sparsegpt", 100),
    ...rotated("wanda", 100),
    ...rotated("sparsegpt", 500),
    ...rotated("wanda", 500),
    ...armor(model, 1e-3, 500, "armor24_lr1e-3_it500_seed0_numpy"),
    ...armor(model, 1e-4, 3000, "armor24_lr1e-4_it3000_seed0_numpy"),
  ];
}

/**
 * Perplexity beside that of the original programs, at equal steps and bytes, on the same protocol:
 * 128 calibration windows of 256 tokens, 200,000 characters of evaluation. Needs ../shared.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  if (!hasShared()) return [];
  const reference = JSON.parse(
    readFileSync(sharedPath("golden", "model-level", "reference.json"), "utf8"),
  );
  const figures: Figure[] = [];
  for (const model of quick ? sharedCases().slice(0, 1) : sharedCases()) {
    const pairs = pairsOf(model.name);
    for (const { original, name, recipe } of quick ? pairs.slice(0, 4) : pairs) {
      const { perplexity: value } = await measure(model, recipe, name);
      const peer = reference.models[model.name][original].ppl;
      figures.push({
        name: `${model.name} ${name}`,
        value,
        unit: "perplexity",
        ratio: value / peer,
        against: `${original}, ${peer.toFixed(3)}`,
      });
    }
  }
  return figures;
}
