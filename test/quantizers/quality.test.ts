/** What quantizing costs the embedded model: KL to the dense one, and perplexity. */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { openRunning } from "../../src/models/open.js";
import { memoryFolder } from "../../src/platform/files.js";
import { compressFiles, EVALUATION, storyFiles } from "../compress/stories.js";
import { divergence, predictionsOf } from "../divergence.js";
import { note, repositoryRoot } from "../shared.js";

const test = suite("quantizers/quality");

const WINDOW = 256;
const ON_WASM = { backend: "wasm" } as const;

const dense = await openRunning(join(repositoryRoot, "examples", "stories-1m"), ON_WASM);
const expected = await predictionsOf(dense, dense.tokenizer.encode(EVALUATION), WINDOW);
const before = (await divergence(expected, dense)).perplexity;
await dense.close();

interface Case {
  readonly method: string;
  readonly options: Readonly<Record<string, number | string | boolean>>;
  /** Largest KL, in nats a token, and largest ratio of the perplexity to the dense one. */
  readonly kl: number;
  readonly ratio: number;
  readonly bits: number;
}

const CASES: readonly Case[] = [
  { method: "rtn", options: { bits: 8 }, kl: 0.0003, ratio: 1.002, bits: 8.5 },
  { method: "rtn", options: { bits: 8, groupSize: "row" }, kl: 0.0003, ratio: 1.002, bits: 8.125 },
  { method: "rtn", options: {}, kl: 0.023, ratio: 1.02, bits: 4.5 },
  { method: "gptq", options: {}, kl: 0.016, ratio: 1.012, bits: 4.5 },
  { method: "gptq", options: { symmetric: false }, kl: 0.0145, ratio: 1.012, bits: 4.625 },
  { method: "gptq", options: { bits: 3 }, kl: 0.065, ratio: 1.035, bits: 3.5 },
  { method: "gptq", options: { bits: 2 }, kl: 0.35, ratio: 1.2, bits: 2.5 },
];

/** Layer errors by case. */
const errors = new Map<string, number[]>();
const nameOf = ({ method, options }: Pick<Case, "method" | "options">) =>
  `${method} ${JSON.stringify(options)}`;

for (const one of CASES) {
  test(`${nameOf(one)} keeps to its bounds`, async () => {
    const { method, options } = one;
    const recipe = { method, options, samples: 128, length: WINDOW };
    const { files, result } = await compressFiles(storyFiles(), recipe, ON_WASM);
    const found = result.layers.map(({ layerError }) => layerError!);
    errors.set(nameOf(one), found);
    const model = await openRunning(await openCheckpoint(memoryFolder(files)), ON_WASM);
    const { kl, perplexity } = await divergence(expected, model);
    await model.close();
    const ratio = perplexity / before;
    const mean = found.reduce((sum, error) => sum + error, 0) / found.length;
    note(
      `${nameOf(one)}: KL ${kl.toFixed(4)} of ${one.kl}, perplexity ratio ${ratio.toFixed(3)} of ${one.ratio}, mean layer error ${mean.toFixed(5)}`,
    );
    assert.ok(kl <= one.kl, `KL ${kl}`);
    assert.ok(ratio <= one.ratio, `perplexity ratio ${ratio}`);
    // A row of 128 has one scale of 16 bits; one of 256 half of that.
    const bits = result.layers.map(({ bitsPerWeight }) => bitsPerWeight!);
    assert.ok(Math.abs(Math.max(...bits) - one.bits) < 1e-9, `${bits}`);
    for (const { figures, name } of result.layers) {
      if (figures.objectiveAfter === undefined) continue;
      assert.ok(
        figures.objectiveAfter < figures.objectiveBefore,
        `refining ${name} gained nothing`,
      );
    }
  });
}

test("in every layer gptq is better than rtn", () => {
  const [rtn, gptq] = ["rtn", "gptq"].map((method) => errors.get(nameOf({ method, options: {} }))!);
  assert.is(gptq.length, 28);
  gptq.forEach((error, i) => {
    assert.ok(error <= rtn[i], `layer ${i}: ${error} against ${rtn[i]}`);
  });
});

test("refining lowers the mean layer error by 8% or more", async () => {
  const recipe = { method: "gptq", options: { refine: 0 }, samples: 128, length: WINDOW };
  const { result } = await compressFiles(storyFiles(), recipe, ON_WASM);
  const mean = (all: readonly number[]) => all.reduce((sum, one) => sum + one, 0) / all.length;
  const without = mean(result.layers.map(({ layerError }) => layerError!));
  const refined = mean(errors.get(nameOf({ method: "gptq", options: {} }))!);
  assert.ok(refined < 0.92 * without, `${refined} against ${without}`);
});

test.run();
