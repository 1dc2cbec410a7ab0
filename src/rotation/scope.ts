import { PenjingError } from "../errors.js";

/** Neighbouring blocks that share one Q. */
export interface BlockGroup {
  readonly first: number;
  /** The block after the last. */
  readonly end: number;
}

export const SCOPE_RULE = '"block", "shared" or "groups:N" with N of at least 1';

/** N of "groups:N"; undefined for anything else. */
function groupCount(scope: string): number | undefined {
  const count = Number(/^groups:([1-9]\d*)$/.exec(scope)?.[1]);
  return Number.isSafeInteger(count) ? count : undefined;
}

export function isRotationScope(scope: unknown): scope is string {
  if (typeof scope !== "string") return false;
  return scope === "block" || scope === "shared" || groupCount(scope) !== undefined;
}

/**
 * The runs of blocks that share one Q: one each for "block", all for "shared", N runs of nearly equal
 * length for "groups:N".
 *
 * @throws PenjingError when there are fewer blocks than groups
 */
export function rotationGroups(scope: string, layers: number): BlockGroup[] {
  const wanted = scope === "shared" ? 1 : scope === "block" ? layers : groupCount(scope)!;
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
