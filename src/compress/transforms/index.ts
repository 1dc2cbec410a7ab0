import type { Registry } from "../../registry.js";
import { openCompressRegistry } from "../registry.js";
import { pruneKind } from "./prune.js";
import { rotate } from "./rotate.js";

/** Every kind of step by name, with the methods that a call knows. */
export function transformsOf(registry: Registry) {
  return { rotate, prune: pruneKind(registry) };
}

export type Transforms = ReturnType<typeof transformsOf>;

/** Those without plug-ins. */
export const transforms = transformsOf(openCompressRegistry());
