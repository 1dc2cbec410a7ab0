import { openBackend } from "../../src/backends/index.js";
import { generateBatch } from "../../src/generate-batch.js";
import { openModel } from "../../src/models/open.js";
import { hasYardstick, yardstickPath } from "../yardstick.js";
import { embeddedCase } from "./cases.js";
import type { BenchOptions, Figure } from "./measure.js";

const WORDS = ["sun", "moon", "sea", "city", "river", "house", "war", "bird"];

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Tokens per second of prompts that are generated together, in turns; SmolLM2-135M's where it was fetched. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const isLarge = hasYardstick() && !quick;
  const source = isLarge ? yardstickPath("smollm2.q4_1.gguf") : embeddedCase().folder;
  const backend = await openBackend("wasm");
  const figures: Figure[] = [];
  for (const activations of ["int8", "float"] as const) {
    const model = await openModel(source, { backend, activations });
    const rates = new Map<number, number[]>();
    for (let turn = 0; turn < (quick ? 2 : 4); turn++) {
      for (const count of [1, 2, 4, 8, 16]) {
        const prompts = Array.from({ length: count }, (_, i) => `The ${WORDS[i % 8]} is`);
        const options = { model, prompts, batch: count, maxNewTokens: 24, ignoreEos: true };
        const { tokensPerSecond } = await generateBatch(options).result();
        // The first turn runs code that is not optimised yet.
        if (turn > 0) rates.set(count, [...(rates.get(count) ?? []), tokensPerSecond]);
      }
    }
    const alone = median(rates.get(1)!);
    for (const [count, all] of rates) {
      const name = `${isLarge ? "SmolLM2-135M" : "stories-1m"} ${activations}, ${count} together`;
      const value = median(all);
      figures.push({ name, value, unit: "tokens/s", ratio: value / alone, against: "1" });
    }
    await model.close();
  }
  backend.dispose();
  return figures;
}
