/**
 * AWQ checkpoints of the version "gemm", as AutoAWQ writes them, of 4 bits: of a layer P [R, C] of K groups
 *
 *   P.qweight   I32 [C, R / 8]   codes packed along the outputs: nibble i of word n is of output 8 n + ORDER[i]
 *   P.qzeros    I32 [K, R / 8]   zero points in the same order
 *   P.scales    F16 [K, R]
 */
import type { ConfigReader } from "../../config-reader.js";
import type { MatrixShape } from "../../form.js";
import { quote } from "../../quote.js";
import { aligned } from "../../tensor.js";
import { DTYPE_BYTES } from "../dtype.js";
import {
  type GridWeight,
  gridWeight,
  type MadeTensor,
  type Parts,
  packMatrix,
  type QuantizedWeights,
  transpose,
  unread,
} from "./grid-weight.js";

const ORDER: readonly number[] = [0, 2, 4, 6, 1, 3, 5, 7];
const QWEIGHT = ".qweight";
const BITS = 4;

interface Settings {
  readonly groupSize: number | undefined;
  readonly hasZeros: boolean;
}

function settingsOf(config: ConfigReader): Settings {
  const { where } = config;
  const version = config.text("version", "gemm").toLowerCase();
  if (version !== "gemm") unread(where, `by awq in the version ${quote(version)}`);
  const bits = config.count(config.has("w_bit") ? "w_bit" : "bits", BITS);
  if (bits !== BITS) unread(where, `by awq to ${bits} bits`);
  const key = config.has("q_group_size") ? "q_group_size" : "group_size";
  const groupSize = config.raw(key) === -1 ? undefined : config.count(key);
  return { groupSize, hasZeros: config.flag("zero_point", true) };
}

/** @param config its quantization_config */
export async function readAwq(parts: Parts, config: ConfigReader): Promise<QuantizedWeights> {
  const settings = settingsOf(config);
  const weights = parts.modules(QWEIGHT).map((module) => readModule(parts, module, settings));
  return { weights, unused: [], notes: [], layout: "grouped-int" };
}

function readModule(parts: Parts, module: string, given: Settings): GridWeight {
  const names = [QWEIGHT, ".scales", ".qzeros"].map((ending) => module + ending);
  const [qweight, scaleName, zeroName] = names;
  const { dtype, shape: packed } = parts.need(qweight, module);
  if (dtype !== "I32" || packed.length !== 2) {
    parts.damaged(qweight, `${dtype} [${packed}] cannot be codes of ${BITS} bits`);
  }
  const [cols, rows] = [packed[0], packed[1] * 8];
  const groups = given.groupSize === undefined ? 1 : Math.ceil(cols / given.groupSize);
  const turned = [groups, rows] as const;
  const scales = parts.expect(scaleName, qweight, ["F16", "BF16", "F32"], turned);
  const symmetric = !given.hasZeros && !parts.get(zeroName);
  if (!symmetric) parts.expect(zeroName, qweight, ["I32"], [groups, rows / 8]);
  const width = DTYPE_BYTES[scales.dtype] as 2 | 4;
  /** Codes [height, R] of a tensor as [R, height]. */
  const codesOf = async (name: string, height: number) =>
    transpose(inOrder(await parts.read(name)), [height, rows], 1);
  const values: MadeTensor = {
    ...{ dtype: "I32", shape: [rows, Math.ceil((cols * BITS) / 32)], from: [qweight] },
    make: async () => packMatrix(BITS, [rows, cols], "rows", await codesOf(qweight, cols)),
  };
  const zeros: MadeTensor = {
    ...{ dtype: "I32", shape: [Math.ceil((rows * BITS) / 32), groups], from: [zeroName] },
    make: async () => packMatrix(BITS, [rows, groups], "columns", await codesOf(zeroName, groups)),
  };
  const grid = {
    values,
    scales: {
      ...{ dtype: scales.dtype, shape: [rows, groups], from: [scaleName] },
      make: async () => transpose(await parts.read(scaleName), turned, width),
    },
    ...(!symmetric && { zeros }),
  };
  const shape: MatrixShape = [rows, cols];
  const numbers = { kind: "grid", bits: BITS, groupSize: given.groupSize, symmetric } as const;
  return gridWeight(module, shape, numbers, grid, {
    uses: names.filter((name) => parts.get(name)),
    type: `awq int${BITS}`,
  });
}

/** Codes of words, in the order of their outputs. */
function inOrder(bytes: Uint8Array): Uint8Array {
  const { buffer, byteOffset } = aligned(bytes, 4);
  const words = new Uint32Array(buffer, byteOffset, bytes.length / 4);
  const codes = new Uint8Array(words.length * 8);
  for (const [n, word] of words.entries()) {
    for (const [i, output] of ORDER.entries()) codes[8 * n + output] = (word >>> (4 * i)) & 15;
  }
  return codes;
}
