import { PenjingError } from "../errors.js";
import { NEWEST_PACKED, packedVersion } from "../forms/packed-grid.js";
import type { Layout, TensorEntry } from "../layout.js";

const REFUSAL =
  "it holds quantized weights alone; quantize the model with a step `quantize`, or choose another layout.";

function refuse({ name }: Pick<TensorEntry, "name">): never {
  throw new PenjingError(name, REFUSAL);
}

/**
 * Quantized weights as codes, scales and zero points, as forms/packed-grid.ts says; the forms in
 * penjing.json tell bits, groups and symmetry of each. Weights that are not quantized are stored dense.
 * Version 2 is of files with tables or float zero points.
 */
export const groupedInt: Layout = {
  name: "grouped-int",
  version: 1,
  newest: NEWEST_PACKED,
  versionOf: packedVersion,
  holds: "codes",
  byRows: true,
  refusal: () => REFUSAL,
  entries: (weight) => [weight],
  pack: refuse,
  weights: () => [],
  unpack: refuse,
};
