/** What the tests of rotations that blocks share have in common. */
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { memoryFolder } from "../../src/platform/files.js";
import { EVALUATION, type Files } from "./stories.js";

export const NOTHING = { method: "magnitude", sparsity: "0%" };
export const SHORT = { method: "sparsegpt", samples: 32, length: 64 };

export async function perplexity(files: Files, text = EVALUATION.slice(0, 6000)): Promise<number> {
  const model = await openCheckpoint(memoryFolder(files));
  return (await evaluatePerplexity({ model, text, window: 64 }).result()).perplexity;
}

export function near(actual: number, expected: number, relative: number): void {
  assert.ok(Math.abs(actual / expected - 1) <= relative, `${actual} is not ${expected}`);
}

export async function tensorNames(files: Files): Promise<string[]> {
  return [...(await openCheckpoint(memoryFolder(files))).tensors.keys()];
}
