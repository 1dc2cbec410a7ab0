import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { methods } from "../../src/methods/index.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import type { Recipe } from "../../src/recipe.js";
import { parseSparsity } from "../../src/sparsity.js";
import { repositoryRoot } from "../shared.js";
import type { BenchOptions, Figure } from "./measure.js";

const SPARSITIES = ["2:4", "4:8", "50%"];

/** Every method at every sparsity that it takes, and at 2:4 with a rotation before it too. */
function recipes(quick: boolean): Map<string, Partial<Recipe>> {
  const all = new Map<string, Partial<Recipe>>();
  const samples = quick ? 16 : 128;
  for (const sparsity of quick ? SPARSITIES.slice(0, 1) : SPARSITIES) {
    for (const [method, { refusal }] of Object.entries(methods)) {
      if (refusal?.(parseSparsity(sparsity))) continue;
      const layout = sparsity === "2:4" ? "two-four" : "dense";
      const options: Record<string, number> = quick && method === "armor" ? { iterations: 50 } : {};
      const recipe = { method, sparsity, samples, layout, options };
      all.set(`${method} ${sparsity}`, recipe);
      if (sparsity === "2:4") all.set(`${method} ${sparsity} rotated`, { ...recipe, rotate: {} });
    }
  }
  return all;
}

/**
 * What each method costs on the embedded model: perplexity on its evaluation stories in windows of
 * 256 tokens, the mean layer error, the bytes of all tensors (2:4 packed), and seconds.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const folder = join(repositoryRoot, "examples", "stories-1m");
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  const [calibration, text] = [read("calibration.txt"), read("evaluation.txt")];
  const score = async (model: Parameters<typeof evaluatePerplexity>[0]["model"]) =>
    (await evaluatePerplexity({ model, text, window: 256 }).result()).perplexity;
  const dense = await score(folder);
  const figures: Figure[] = [{ name: "dense", value: dense, unit: "perplexity" }];
  for (const [name, recipe] of recipes(quick)) {
    const out = memoryOutputFolder();
    const { layers, totals, seconds } = await compress({
      model: folder,
      out,
      calibration,
      recipe,
    }).result();
    const error = layers.reduce((sum, layer) => sum + layer.layerError!, 0) / layers.length;
    const value = await score(await openCheckpoint(memoryFolder(out.files)));
    const share = totals.bytesAfter / totals.bytesBefore;
    figures.push(
      { name, value, unit: "perplexity", ratio: value / dense, against: "dense" },
      { name: `${name}: layer error`, value: error, unit: "of the output" },
      {
        name: `${name}: size`,
        value: totals.bytesAfter,
        unit: "bytes",
        ratio: share,
        against: "dense",
      },
      { name: `${name}: time`, value: seconds, unit: "s" },
    );
  }
  return figures;
}
