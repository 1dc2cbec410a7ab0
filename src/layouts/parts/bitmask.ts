/** What the bitmask layouts of compressed-tensors share: names, the stored shape, the config. */
import { PenjingError } from "../../errors.js";
import type { TensorEntry } from "../../layout.js";
import { matrixRefusal } from "./elements.js";

/** Parts are named after the module: P.weight becomes P.compressed and its like. */
const WEIGHT = ".weight";

export const COMPRESSED = ".compressed";
export const BITMASK = ".bitmask";
export const SHAPE = ".shape";
export const ROW_OFFSETS = ".row_offsets";

/** The release of compressed-tensors whose files these are. */
const COMPRESSED_TENSORS = "0.12.3";

export const BITMASK_WARNING =
  "it is a legacy layout: compressed-tensors, transformers and vLLM dropped it in early 2026, so only older releases read the folder; prefer the layout dense for other programs.";

export function moduleOf({ name }: TensorEntry): string {
  return name.slice(0, -WEIGHT.length);
}

export function weightOfModule(module: string): string {
  return module + WEIGHT;
}

export function bitmaskRefusal(weight: TensorEntry, layout: string): string | undefined {
  if (!weight.name.endsWith(WEIGHT)) {
    return `its name does not end in ${WEIGHT}, which ${layout} puts its endings for; rename it.`;
  }
  return matrixRefusal(weight, ["F32", "F16", "BF16", "I8"], "as a bitmask");
}

/** Numbers as I64 elements. */
export function int64(numbers: readonly number[]): Uint8Array {
  return new Uint8Array(BigInt64Array.from(numbers, BigInt).buffer);
}

/** Refuses a part whose elements are not those that packing would have stored. */
export function expectInt64(
  part: TensorEntry,
  bytes: Uint8Array,
  numbers: readonly number[],
): void {
  const expected = int64(numbers);
  if (bytes.every((byte, i) => byte === expected[i])) return;
  const found = new BigInt64Array(bytes.slice().buffer);
  const at = found.findIndex((value, i) => value !== BigInt(numbers[i]));
  throw new PenjingError(
    part.name,
    `its element ${at} is ${found[at]}, must be ${numbers[at]}; the file is damaged.`,
  );
}

/** Refuses bits beyond the last column of a row. */
export function checkPaddingBits(
  part: TensorEntry,
  bitmask: Uint8Array,
  rows: number,
  cols: number,
): void {
  const width = Math.ceil(cols / 8);
  const used = cols % 8;
  if (used === 0) return;
  for (let row = 0; row < rows; row++) {
    if (bitmask[row * width + width - 1] >> used === 0) continue;
    throw new PenjingError(
      part.name,
      `row ${row} has bits set beyond its ${cols} columns; the file is damaged.`,
    );
  }
}

/** The key of config.json that makes compressed-tensors unpack the weights. */
export function quantizationConfig(
  format: string,
  structure: "2:4" | "unstructured",
  sparsity: number,
  left: readonly string[],
): Readonly<Record<string, unknown>> {
  return {
    quantization_config: {
      quant_method: "compressed-tensors",
      version: COMPRESSED_TENSORS,
      sparsity_config: {
        format,
        global_sparsity: sparsity,
        ignore: left,
        sparsity_structure: structure,
        targets: ["Linear"],
      },
      transform_config: {},
    },
  };
}
