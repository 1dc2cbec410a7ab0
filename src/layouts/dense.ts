import { PenjingError } from "../errors.js";
import type { Layout, TensorEntry } from "../layout.js";

/**
 * Every weight as it is, row-major in its own dtype, zeros included: what any program reads. A
 * pruned weight takes as many bytes as before.
 */
export const dense: Layout = {
  name: "dense",
  version: 1,
  holds: "any",
  byRows: true,
  refusal: () => undefined,
  entries: (weight) => [weight],
  pack: (weight, bytes) => new Map([[weight.name, bytes]]),
  weights: (stored) => stored,
  unpack(weight: TensorEntry, parts: ReadonlyMap<string, Uint8Array>): Uint8Array {
    const bytes = parts.get(weight.name);
    if (!bytes) throw new PenjingError(weight.name, "its bytes are missing; read them first.");
    return bytes;
  },
};
