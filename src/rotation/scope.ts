import { PenjingError } from "../errors.js";

/** Neighbouring blocks whose rotation is sought at once: they share one Q, where there is one. */
export interface BlockGroup {
  readonly first: number;
  /** The block after the last. */
  readonly end: number;
}

/** Which blocks share one Q. */
export const SCOPE = {
  kind: "text",
  pattern: "block|shared|heads|groups:[1-9]\\d*",
  rule: '"block", "shared", "heads" or "groups:N" with N of at least 1',
  default: "block",
  description:
    "which blocks share one rotation: block, each its own; groups:N, N runs of neighbours; shared, all, and the output is a plain checkpoint; heads, none: attention's values alone are turned, at no bytes",
} as const;

/**
 * The runs of blocks that share one Q: one each for "block", all for "shared", N runs of nearly equal
 * length for "groups:N"; one each for "heads", which has none.
 *
 * @throws PenjingError when there are fewer blocks than groups
 */
export function rotationGroups(scope: string, layers: number): BlockGroup[] {
  const [, count] = scope.split(":");
  const wanted = scope === "shared" ? 1 : count === undefined ? layers : Number(count);
  if (wanted > layers) {
    throw new PenjingError(
      "rotate: scope",
      `${scope} asks for more groups than the model has blocks (${layers}); give groups:${layers} or fewer.`,
    );
  }
  return Array.from({ length: wanted }, (_, i) => ({
    first: Math.floor((i * layers) / wanted),
    end: Math.floor(((i + 1) * layers) / wanted),
  }));
}
