/** A value in every place. */
import type { StructureRules } from "./rules.js";

export const dense: StructureRules<unknown> = {
  describe: () => "dense",
  refusal: () => undefined,
  values: (_, shape) => shape,
  parts: () => [],
  places: () => (i) => i,
};
