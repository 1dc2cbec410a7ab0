import type { Argument } from "../arguments.js";
import type { Weight } from "../backend.js";
import { PenjingError } from "../errors.js";
import type { Activations } from "../forms/integer.js";

export const ACTIVATIONS: Argument = {
  what: '"int8" or "float"',
  fits: (value) => value === "int8" || value === "float",
};

/** @throws PenjingError when other products are asked for than a model was opened with */
export function checkActivations(
  asked: Activations | undefined,
  opened: { readonly activations: Activations } | undefined,
): void {
  if (!opened || (asked ?? opened.activations) === opened.activations) return;
  throw new PenjingError(
    "activations",
    `it is "${asked}", but the model was opened with "${opened.activations}"; leave it out, or open the model with activations "${asked}".`,
  );
}

/** What a result says of how activations were multiplied. */
export interface RoundedActivations {
  /** "int8" where activations were rounded to int8 to multiply them by some of the weights; else absent. */
  readonly activations?: "int8" | undefined;
}

export function activationsOf(decoder: {
  readonly roundsActivations: boolean;
}): RoundedActivations {
  return decoder.roundsActivations ? { activations: "int8" } : {};
}

/** Whether activations are rounded to int8 to multiply by a matrix of blocks, or by the head. */
export function isRounded(
  blocks: readonly { readonly linears: Readonly<Record<string, { readonly weight: Weight }>> }[],
  head?: Weight,
): boolean {
  const linears = blocks.flatMap(({ linears }) => Object.values(linears));
  return [...linears.map(({ weight }) => weight), head].some(
    (weight) => weight && "activations" in weight && weight.activations === "int8",
  );
}
