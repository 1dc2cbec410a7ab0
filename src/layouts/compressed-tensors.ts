/**
 * Quantized weights as compressed-tensors 0.20 stores them, so that it, transformers and vLLM read the folder:
 * its format stands in quantization_config of config.json.
 *
 *   pack-quantized, version 1: the tensors of grouped-int, for 2 to 8 bits and groups that divide the columns
 *   int-quantized, version 1, for symmetric grids of 8 bits and one scale for each row:
 *     P.weight        I8 [R, C]: the codes less 128
 *     P.weight_scale  F16 or BF16 [R, 1]
 *   of which programs quantize the inputs as well, each token to int8
 */
import type { Form, Leaf } from "../form.js";
import { describe } from "../forms/leaf.js";
import { isPackedGrid, readCodes } from "../forms/packed-grid.js";
import type { Layout, TensorEntry } from "../layout.js";
import { groupedInt } from "./grouped-int.js";

const WEIGHT = ".weight";
const LEAST_BITS = 2;

/** A grid as compressed-tensors describes it. */
interface Scheme {
  readonly bits: number;
  readonly symmetric: boolean;
  /** Columns that share a scale; undefined for the whole row. */
  readonly groupSize: number | undefined;
}

/** The grid of a form; undefined for other forms. */
function gridOf(form: Form<unknown>): (Scheme & { readonly cols: number }) | undefined {
  if (form.kind !== "leaf" || !isPackedGrid(form) || form.numbers.kind !== "grid") return undefined;
  const { bits, symmetric, groupSize } = form.numbers;
  const [, cols] = form.shape;
  const isRow = groupSize === undefined || groupSize >= cols;
  return { bits, symmetric, cols, groupSize: isRow ? undefined : groupSize };
}

function notGrid(form: Form<unknown>, layout: string): string {
  return `it is held as ${describe(form)}, which ${layout} has no tensors for; choose the layout grouped-int, or leave that step out.`;
}

/** Exactly the keys that it reads, as it refuses others. */
function weightsOf({ bits, symmetric, groupSize }: Scheme): object {
  return {
    num_bits: bits,
    type: "int",
    symmetric,
    strategy: groupSize === undefined ? "channel" : "group",
    group_size: groupSize ?? null,
    block_structure: null,
    dynamic: false,
    actorder: null,
    observer: "minmax",
    observer_kwargs: {},
  };
}

const INPUTS_BY_TOKEN = {
  ...{ num_bits: 8, type: "int", symmetric: true, strategy: "token", group_size: null },
  ...{ block_structure: null, dynamic: true, actorder: null, observer: null, observer_kwargs: {} },
};

/** A group for each way in which weights are quantized; where there is one, it is of all linear layers. */
function groupsOf(forms: ReadonlyMap<string, Form<unknown>>, inputs: object | null): object {
  const layers = new Map<string, string[]>();
  for (const [name, form] of forms) {
    const grid = gridOf(form);
    if (!grid) continue;
    const key = JSON.stringify(weightsOf(grid));
    layers.set(key, [...(layers.get(key) ?? []), name.slice(0, -WEIGHT.length)]);
  }
  const groups = [...layers].map(([weights, names], i) => {
    const group = {
      targets: layers.size === 1 ? ["Linear"] : names,
      input_activations: inputs,
      output_activations: null,
      weights: JSON.parse(weights),
    };
    return [`group_${i}`, group] as const;
  });
  return Object.fromEntries(groups);
}

function configOf(
  format: string,
  inputs: object | null,
  left: readonly string[],
  forms: ReadonlyMap<string, Form<unknown>>,
): Readonly<Record<string, unknown>> {
  return {
    quantization_config: {
      quant_method: "compressed-tensors",
      format,
      quantization_status: "compressed",
      global_compression_ratio: null,
      kv_cache_scheme: null,
      ignore: left,
      config_groups: groupsOf(forms, inputs),
    },
  };
}

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
  name: PACK,
  exchange: { refusal: packRefusal },
  configKeys: (left, forms) => configOf(PACK, null, left, forms),
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
  return `it has ${bits} bits by ${group}${zeros}, and ${INT} holds 8 bits by rows without zero points; quantize with \`bits: 8\` and \`groupSize: row\`, or choose the layout ${PACK}.`;
}

/** Codes less 128, from those that are packed. */
function signedCodes(leaf: Leaf<unknown>, { dtype }: TensorEntry, bytes: Uint8Array): Uint8Array {
  const rule = { name: "values", dtype: "u8", shape: leaf.shape } as const;
  return readCodes(leaf, rule, dtype, bytes)!.map((code) => code - MIDDLE);
}

export const intQuantized: Layout = {
  ...groupedInt,
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
