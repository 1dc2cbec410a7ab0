import type { Argument } from "../arguments.js";
import type { Tokenizer } from "../checkpoint/tokenizer.js";
import { PenjingError } from "../errors.js";
import type { DecoderSpec } from "../model.js";

export const BOS_MODES = ["auto", "always", "never"] as const;
/** Whether a BOS token is put in front. */
export type BosMode = (typeof BOS_MODES)[number];

export const BOS: Argument = {
  what: '"auto", "always" or "never"',
  fits: (value) => BOS_MODES.includes(value as BosMode),
};

/** What names a model's BOS token. */
export interface BosSource {
  readonly spec: Pick<DecoderSpec, "bosIds" | "needsBos">;
  readonly tokenizer: Pick<Tokenizer, "bosId">;
}

/**
 * The BOS token of a model.
 *
 * @throws PenjingError when its files name none
 */
export function requireBos({ spec, tokenizer }: BosSource): number {
  const id = tokenizer.bosId ?? spec.bosIds[0];
  if (id !== undefined) return id;
  throw new PenjingError(
    "bos",
    "the model's files name no BOS token; give `bos: never`, or name it in tokenizer_config.json.",
  );
}

/**
 * The token that each window of a measurement or of calibration begins with, if any. "auto" takes
 * one for families that need it: those whose results are wrong without.
 *
 * @throws PenjingError when there shall be one and the model's files name none
 */
export function windowBos(mode: BosMode | undefined, model: BosSource): number | undefined {
  const isWanted = mode === "always" || (mode !== "never" && model.spec.needsBos === true);
  return isWanted ? requireBos(model) : undefined;
}

/**
 * Puts a token in front of each window, where it counts as one of the window's tokens.
 *
 * @param ids tokens of a text
 * @param window tokens of a window, the BOS included
 */
export function withBos(ids: Int32Array, window: number, bos: number): Int32Array {
  const own = window - 1;
  const whole = new Int32Array(ids.length + Math.ceil(ids.length / own));
  for (let start = 0, at = 0; start < ids.length; start += own, at += window) {
    whole[at] = bos;
    whole.set(ids.subarray(start, start + own), at + 1);
  }
  return whole;
}
