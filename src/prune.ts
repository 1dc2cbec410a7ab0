import type { PrunedLinear, PruneLinearOptions } from "./compress/linear.js";

export type { PrunedLinear, PruneLinearOptions } from "./compress/linear.js";

/**
 * Prunes one linear layer's matrix, alone, as a step of a recipe would.
 *
 * @throws PenjingError when sizes disagree, a value is NaN or infinite, the pattern does not divide
 *   the columns, or the method needs activations that were not given
 */
export async function pruneLinear(options: PruneLinearOptions): Promise<PrunedLinear> {
  // Loaded when it is called for: programs that only run models need none of it.
  const { pruneAlone } = await import("./compress/linear.js");
  return pruneAlone(options);
}
