import { PenjingError } from "../errors.js";

/** Neighbouring blocks that share one Q. */
export interface BlockGroup {
  readonly first: number;
  /** The block after the last. */
  readonly end: number;
}

/** Which blocks share one Q. */
export const SCOPE = {
  kind: "text",
  pattern: "block|shared|groups:[1-9]\\d*",
  rule: '"block", "shared" or "groups:N" with N of at least 1',
  default: "block",
  description:
    "which blocks share one rotation: block, each its own; groups:N, N runs of neighbours; shared, all, and the output is a plain checkpoint",
} as const;

/**
 * The runs of blocks that share one Q: one each for "block", all for "shared", N runs of nearly equal
 * length for "groups:N".
 *
 * @throws PenjingError when there are fewer blocks than groups
 */
export function rotationGroups(scope: string, layers: number): BlockGroup[] {
  const wanted =
    scope === "shared" ? 1 : scope === "block" ? layers : Number(scope.slice("groups:".length));
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
