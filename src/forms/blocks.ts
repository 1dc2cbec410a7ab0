/** Square blocks along the diagonal of a square matrix. */
import type { Form, Leaf, Structure } from "../form.js";
import type { StructureRules } from "./rules.js";

export const blocks: StructureRules<Extract<Structure, { kind: "blocks" }>> = {
  describe: ({ size }) => `blocks of ${size}`,
  refusal({ size }, [rows, cols]) {
    if (rows !== cols) return `blocks stand in a square matrix, not in [${rows}, ${cols}]`;
    const divides = Number.isSafeInteger(size) && size > 0 && rows % size === 0;
    return divides ? undefined : `blocks of ${size} do not divide ${rows} rows`;
  },
  values: ({ size }, [rows]) => [rows / size, size, size],
  parts: () => [],
  places:
    ({ size }, [, cols]) =>
    (i) => {
      const row = Math.floor(i / size);
      return row * cols + row - (row % size) + (i % size);
    },
};

/** Whether a form is blocks on a diagonal in f32, which products go through block by block. */
export function isBlocks<Part>(form: Form<Part>): form is Leaf<Part> {
  if (form.kind !== "leaf" || form.structure.kind !== "blocks") return false;
  return form.numbers.kind === "float" && form.numbers.dtype === "f32";
}
