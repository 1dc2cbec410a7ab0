/**
 * The layout `pack-quantized`, version 1: the tensors of grouped-int, for 2 to 8 bits and groups that divide
 * the columns, with the config.json by which compressed-tensors 0.20, and so transformers and vLLM, read them.
 */
import type { Form } from "../form.js";
import type { Layout } from "../layout.js";
import { groupedInt } from "./grouped-int.js";
import { configOf, gridOf, notGrid } from "./parts/compressed-tensors.js";

const LEAST_BITS = 2;
const PACK = "pack-quantized";

function packRefusal(form: Form<unknown>): string | undefined {
  const grid = gridOf(form);
  if (!grid) return notGrid(form, PACK);
  const { bits, groupSize = 1, cols } = grid;
  if (bits < LEAST_BITS) {
    return `it has ${bits} bit a code, and ${PACK} is read with ${LEAST_BITS} to 8; choose more bits, or the layout grouped-int.`;
  }
  if (cols % groupSize === 0) return undefined;
  return `its ${cols} columns are not a multiple of the group size ${groupSize}, which ${PACK} needs; choose a group size that divides them or \`row\`, or the layout grouped-int.`;
}

export const packQuantized: Layout = {
  ...groupedInt,
  ...{ newest: undefined, versionOf: undefined },
  name: PACK,
  exchange: { refusal: packRefusal },
  configKeys: (left, forms) => configOf(PACK, null, left, forms),
};
