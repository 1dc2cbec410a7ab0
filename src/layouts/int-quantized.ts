/**
 * The layout `int-quantized`, version 1, of compressed-tensors 0.20: for symmetric grids of 8 bits and one scale
 * for each row, of a weight P.weight [R, C]
 *
 *   P.weight        I8 [R, C]: the codes less 128
 *   P.weight_scale  F16 or BF16 [R, 1]
 *
 * and a config.json by which programs quantize the inputs as well, each token to int8.
 */
import type { Form, Leaf } from "../form.js";
import { readCodes } from "../forms/packed-grid.js";
import type { Layout, TensorEntry } from "../layout.js";
import { groupedInt } from "./grouped-int.js";
import { configOf, gridOf, notGrid } from "./parts/compressed-tensors.js";

const INPUTS_BY_TOKEN = {
  ...{ num_bits: 8, type: "int", symmetric: true, strategy: "token", group_size: null },
  ...{ block_structure: null, dynamic: true, actorder: null, observer: null, observer_kwargs: {} },
};

const INT = "int-quantized";
const BITS = 8;
const MIDDLE = 2 ** (BITS - 1);

function intRefusal(form: Form<unknown>): string | undefined {
  const grid = gridOf(form);
  if (!grid) return notGrid(form, INT);
  const { bits, symmetric, groupSize } = grid;
  if (bits === BITS && symmetric && groupSize === undefined) return undefined;
  const group = groupSize === undefined ? "rows" : `groups of ${groupSize}`;
  const zeros = symmetric ? "" : " with zero points";
  return `it has ${bits} bits by ${group}${zeros}, and ${INT} holds 8 bits by rows without zero points; quantize with \`bits: 8\` and \`groupSize: row\`, or choose the layout pack-quantized.`;
}

/** Codes less 128, from those that are packed. */
function signedCodes(leaf: Leaf<unknown>, { dtype }: TensorEntry, bytes: Uint8Array): Uint8Array {
  const rule = { name: "values", dtype: "u8", shape: leaf.shape } as const;
  return readCodes(leaf, rule, dtype, bytes)!.map((code) => code - MIDDLE);
}

export const intQuantized: Layout = {
  ...groupedInt,
  ...{ newest: undefined, versionOf: undefined },
  name: INT,
  warning:
    "programs that read it quantize the inputs of these layers to int8 as well, which neither the layers' errors nor `penjing eval` take into account.",
  exchange: {
    refusal: intRefusal,
    part(leaf, name, part, entry) {
      if (part === "scales") return { entry, convert: (bytes) => bytes };
      if (part !== "values") return undefined;
      return {
        entry: { name, dtype: "I8", shape: leaf.shape },
        convert: (bytes) => signedCodes(leaf, entry, bytes),
      };
    },
  },
  configKeys: (left, forms) => configOf(INT, INPUTS_BY_TOKEN, left, forms),
};
