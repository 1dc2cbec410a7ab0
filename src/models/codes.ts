import type { Backend } from "../backend.js";
import type { Leaf } from "../form.js";
import { isInteger } from "../forms/integer.js";
import { partRules } from "../forms/leaf.js";

/**
 * Whether a backend holds a leaf as codes, to multiply them by int8 activations: asked of a single row, as it
 * would decode a leaf that it has no kernel for.
 */
export async function multipliesCodes(backend: Backend, leaf: Leaf<unknown>): Promise<boolean> {
  if (!isInteger(leaf)) return false;
  const row = { ...leaf, shape: [1, leaf.shape[1]] as const };
  const parts = new Map(
    partRules(row).map(({ name, dtype, shape }) => [name, backend.zeros(shape, dtype)]),
  );
  try {
    const matrix = await backend.ops.prepare({ ...row, parts }, { activations: "int8" });
    matrix.dispose();
    return matrix.activations === "int8";
  } finally {
    for (const part of parts.values()) part.dispose();
  }
}
