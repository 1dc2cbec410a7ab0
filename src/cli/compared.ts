/** How good a model was before a run, and how good it is after it. */
import { openCheckpoint } from "../checkpoint/checkpoint.js";
import { type Evaluation, evaluationOf } from "../evaluate/evaluation.js";
import type { EvaluateOptions } from "../evaluate.js";
import { readLargeModel } from "../models/stored.js";
import { type StoredBits, storedBits } from "../models/stored-bits.js";
import type { Plugin } from "../plugin.js";
import { openRegistry } from "../registry.js";
import type { PrintOptions } from "./console.js";
import { scoreText } from "./evaluate.js";

export interface Compared extends Evaluation {
  readonly after: Evaluation["after"] & { readonly bitsPerWeight: StoredBits };
  /** Seconds of scoring both models once more; absent where that was not needed. */
  readonly seconds?: number | undefined;
}

/**
 * @param evaluation what a run found on its way. @default both models are scored now
 * @param options of scoring, the output as its model
 */
export async function compared(
  evaluation: Evaluation | undefined,
  options: EvaluateOptions & { readonly model: string },
  print: PrintOptions,
): Promise<Compared> {
  const { model, plugins, signal } = options;
  if (evaluation) {
    const { before, after } = evaluation;
    return { before, after: { ...after, bitsPerWeight: await bitsOf(model, plugins, signal) } };
  }
  const found = await scoreText(options, "after  ", print);
  const { served: _, backend: __, seconds, bitsPerWeight, ...rest } = found;
  const { bosId, unknownTokens, textSha256, ...score } = rest;
  const facts = { ...(bosId !== undefined && { bosId }), unknownTokens, textSha256 };
  const { before, after } = evaluationOf(score, facts);
  return { before, after: { ...after, bitsPerWeight }, seconds };
}

/** Bits per weight of a model as it is stored. */
async function bitsOf(
  path: string,
  plugins: readonly Plugin[] | undefined,
  signal: AbortSignal | undefined,
): Promise<StoredBits> {
  const checkpoint = await openCheckpoint(path, { signal });
  try {
    return storedBits(await readLargeModel(checkpoint, openRegistry(plugins), signal));
  } finally {
    await checkpoint.close();
  }
}
