import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { methods } from "../../src/methods/index.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { parseSparsity } from "../../src/sparsity.js";
import { repositoryRoot } from "../shared.js";
import type { BenchOptions, Figure } from "./measure.js";

const SPARSITIES = ["2:4", "4:8", "50%"];

/**
 * What each method costs on the embedded model: perplexity on its evaluation stories in windows of
 * 256 tokens, beside that of the dense model; then the mean layer error.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const folder = join(repositoryRoot, "examples", "stories-1m");
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  const [calibration, text] = [read("calibration.txt"), read("evaluation.txt")];
  const score = async (model: Parameters<typeof evaluatePerplexity>[0]["model"]) =>
    (await evaluatePerplexity({ model, text, window: 256 }).result()).perplexity;
  const dense = await score(folder);
  const figures: Figure[] = [{ name: "dense", value: dense, unit: "perplexity" }];
  for (const sparsity of quick ? SPARSITIES.slice(0, 1) : SPARSITIES) {
    for (const [method, { refusal }] of Object.entries(methods)) {
      if (refusal?.(parseSparsity(sparsity))) continue;
      const out = memoryOutputFolder();
      const recipe = { method, sparsity, samples: quick ? 16 : 128 };
      const { layers } = await compress({ model: folder, out, calibration, recipe }).result();
      const error = layers.reduce((sum, layer) => sum + layer.layerError!, 0) / layers.length;
      const pruned = await openCheckpoint(memoryFolder(out.files));
      const name = `${method} ${sparsity}`;
      const value = await score(pruned);
      figures.push({ name, value, unit: "perplexity", ratio: value / dense, against: "dense" });
      figures.push({ name: `${name} mean layer error`, value: error, unit: "of the output" });
    }
  }
  return figures;
}
