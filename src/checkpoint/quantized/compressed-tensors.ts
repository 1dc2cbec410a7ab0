/**
 * Checkpoints of compressed-tensors with integer weights. Of a layer P [R, C] with K groups, K = 1 where a
 * row shares its scale:
 *
 *   pack-quantized   P.weight_packed, P.weight_scale, P.weight_zero_point and P.weight_shape as
 *                    forms/packed-grid.ts has them. Until June 2026 no code of 3, 5, 6 or 7 bits crossed from
 *                    one word to the next, so that words had bits to spare; the width tells.
 *   int-quantized    P.weight I8 [R, C] of codes less 2^(b - 1), P.weight_scale [R, K] and
 *                    P.weight_zero_point I8 [R, K], less as much; naive-quantized is the same
 */
import { PenjingError } from "../../errors.js";
import type { MatrixShape } from "../../form.js";
import { aligned, type StoredDType, sizeOf } from "../../tensor.js";
import { DTYPE_BYTES } from "../dtype.js";
import type { CheckpointTensor } from "../opened.js";
import {
  type Grid,
  type GridPart,
  type GridWeight,
  gridWeight,
  type MadeTensor,
  type Parts,
  packMatrix,
  type QuantizedWeights,
  wordsOf,
} from "./grid-weight.js";
import type { Scheme, Schemes } from "./schemes.js";

const PACKED = ".weight_packed";
const WEIGHT = ".weight";
const FLOATS: readonly StoredDType[] = ["BF16", "F16", "F32"];
/** What programs keep beside layers for the activations that they quantize. */
const OF_ACTIVATIONS =
  /\.((input|output)_(scale|zero_point|global_scale)|[qkv]_(scale|zero_point))$/;

export async function readCompressedTensors(
  parts: Parts,
  schemes: Schemes,
): Promise<QuantizedWeights> {
  const weights: GridWeight[] = [];
  for (const module of parts.modules(PACKED)) {
    weights.push(await readPacked(parts, module, schemes.of(module)));
  }
  const isInt8 = (module: string) => parts.get(module + WEIGHT)?.dtype === "I8";
  const plain = parts.modules(`${WEIGHT}_scale`).filter(isInt8);
  for (const module of plain) weights.push(readPlain(parts, module, schemes.of(module)));
  if (weights.length === 0) schemes.refuse();
  const unused = [...parts.checkpoint.tensors.keys()].filter((name) => OF_ACTIVATIONS.test(name));
  const notes = schemes.quantizesActivations
    ? ["programs that run it quantize activations too, which is not done here"]
    : [];
  const isPlain = plain.length === weights.length && weights.every(isByRows);
  return { weights, unused, notes, layout: isPlain ? "int-quantized" : "pack-quantized" };
}

/** Whether a weight is as the layout int-quantized has it. */
function isByRows({ form: { numbers } }: GridWeight): boolean {
  if (numbers.kind !== "grid") return false;
  return numbers.bits === 8 && numbers.symmetric && numbers.groupSize === undefined;
}

/** The numbers of a grid, and how many scales a row has. */
interface Sizes {
  readonly numbers: Grid;
  readonly shape: MatrixShape;
  readonly groups: number;
}

function numbersOf({ bits, groupSize, symmetric }: Scheme): Grid {
  return { kind: "grid", bits, groupSize, symmetric };
}

async function readPacked(parts: Parts, module: string, scheme: Scheme): Promise<GridWeight> {
  const [packed, scale, zero, told, order] = [
    ...[PACKED, "_scale", "_zero_point", "_shape", "_g_idx"].map((ending) =>
      ending === PACKED ? module + PACKED : module + WEIGHT + ending,
    ),
  ];
  const { dtype, shape: stored } = parts.need(packed, module);
  if (dtype !== "I32" || stored.length !== 2) {
    parts.damaged(packed, `${dtype} [${stored}] cannot be packed codes`);
  }
  if (parts.get(order)) refuseOrdered(parts, order);
  const { bits, groupSize } = scheme;
  const [rows, width] = stored;
  parts.expect(told, packed, ["I64", "I32"], [2], [2, 1]);
  const cols = await colsOf(parts, told, rows, packed);
  const groups = groupSize === undefined ? 1 : Math.ceil(cols / groupSize);
  const own: Sizes = { numbers: numbersOf(scheme), shape: [rows, cols], groups };
  const [now, before] = [wordsOf(cols, bits), Math.ceil(cols / Math.floor(32 / bits))];
  if (width !== now && width !== before) {
    parts.damaged(
      packed,
      `it is [${stored}], must be [${rows},${now}] for ${cols} columns of ${bits} bits`,
    );
  }
  const values = width === now ? packed : respaced(parts, packed, own.shape, "rows", bits);
  const grid = {
    values,
    scales: scalesOf(parts, scale, packed, own),
    ...(!scheme.symmetric && { zeros: packedZeros(parts, zero, packed, own) }),
    ...(isShape(parts.get(told)) && { shape: told }),
  };
  const uses = [packed, scale, zero, told].filter((name) => parts.get(name));
  return gridWeight(module, own.shape, own.numbers, grid, {
    uses,
    type: `pack-quantized int${bits}`,
  });
}

function isShape(entry: CheckpointTensor | undefined): boolean {
  return entry?.dtype === "I64" && entry.shape.length === 1;
}

/** Columns, as the tensor says that holds the shape. */
async function colsOf(parts: Parts, told: string, rows: number, packed: string): Promise<number> {
  const { dtype } = parts.need(told, packed);
  const { buffer, byteOffset } = aligned(await parts.read(told), 8);
  const [height, cols] =
    dtype === "I64"
      ? Array.from(new BigInt64Array(buffer, byteOffset, 2), Number)
      : new Int32Array(buffer, byteOffset, 2);
  if (height !== rows || !Number.isSafeInteger(cols) || cols < 1) {
    parts.damaged(told, `it says [${height},${cols}], but ${packed} has ${rows} rows`);
  }
  return cols;
}

function refuseOrdered({ path }: Parts, name: string): never {
  throw new PenjingError(
    path,
    `${name} says that groups are of scattered inputs (actorder group), which compressed-tensors dropped and is not read; quantize the original checkpoint with another actorder.`,
  );
}

function readPlain(parts: Parts, module: string, scheme: Scheme): GridWeight {
  const weight = module + WEIGHT;
  const [scale, zero] = [`${weight}_scale`, `${weight}_zero_point`];
  const { shape: stored } = parts.need(weight, module);
  if (stored.length !== 2) parts.damaged(weight, `I8 [${stored}] is no matrix`);
  const { bits, groupSize, symmetric } = scheme;
  const [rows, cols] = stored;
  const groups = groupSize === undefined ? 1 : Math.ceil(cols / groupSize);
  const own: Sizes = { numbers: numbersOf(scheme), shape: [rows, cols], groups };
  const values: MadeTensor = {
    ...{ dtype: "I32", shape: [rows, wordsOf(cols, bits)], from: [weight] },
    async make() {
      return packMatrix(bits, own.shape, "rows", await unsigned(parts, weight, bits));
    },
  };
  const grid = {
    values,
    scales: scalesOf(parts, scale, weight, own),
    ...(!symmetric && { zeros: plainZeros(parts, zero, weight, own) }),
  };
  const uses = [weight, scale, zero].filter((name) => parts.get(name));
  return gridWeight(module, own.shape, own.numbers, grid, {
    uses,
    type: `int-quantized int${bits}`,
  });
}

/** Codes of int8 values q: q + 2^(b - 1). */
async function unsigned(parts: Parts, name: string, bits: number): Promise<Uint8Array> {
  const middle = 2 ** (bits - 1);
  const bytes = await parts.read(name);
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  const bad = signed.find((value) => value < -middle || value >= middle);
  if (bad !== undefined) parts.damaged(name, `it holds ${bad}, which has more than ${bits} bits`);
  return Uint8Array.from(signed, (value) => value + middle);
}

/** Scales [R, K], or one for all rows. */
function scalesOf(parts: Parts, name: string, beside: string, { shape, groups }: Sizes): GridPart {
  const [rows] = shape;
  const whole = [rows, groups];
  const entry = parts.expect(
    name,
    beside,
    FLOATS,
    whole,
    ...(groups === 1 ? [[rows], [1], []] : []),
  );
  if (String(entry.shape) === String(whole)) return name;
  return {
    ...{ dtype: entry.dtype, shape: whole, from: [name] },
    make: async () => repeated(await parts.read(name), rows * DTYPE_BYTES[entry.dtype]),
  };
}

/** Bytes one after another until there are so many. */
function repeated(bytes: Uint8Array, length: number): Uint8Array {
  const all = new Uint8Array(length);
  for (let at = 0; at < length; at += bytes.length) all.set(bytes, at);
  return all;
}

/** Zero points of packed codes, which old releases did not pack. */
function packedZeros(parts: Parts, name: string, beside: string, own: Sizes): GridPart {
  const { numbers, shape, groups } = own;
  const [rows] = shape;
  if (parts.get(name)?.dtype === "I8") return plainZeros(parts, name, beside, own);
  const [now, before] = [
    wordsOf(rows, numbers.bits),
    Math.ceil(rows / Math.floor(32 / numbers.bits)),
  ];
  const entry = parts.expect(name, beside, ["I32"], [now, groups], [before, groups]);
  if (entry.shape[0] === now) return name;
  return respaced(parts, name, [rows, groups], "columns", numbers.bits);
}

/** Zero points that are stored as int8 values. */
function plainZeros(parts: Parts, name: string, beside: string, own: Sizes): MadeTensor {
  const { numbers, shape, groups } = own;
  const [rows] = shape;
  const { bits } = numbers;
  parts.expect(name, beside, ["I8"], [rows, groups], ...(groups === 1 ? [[rows], [1], []] : []));
  return {
    ...{ dtype: "I32", shape: [wordsOf(rows, bits), groups], from: [name] },
    async make() {
      const codes = repeated(await unsigned(parts, name, bits), rows * groups);
      return packMatrix(bits, [rows, groups], "columns", codes);
    },
  };
}

/** Codes of which whole ones stood in each word, one after another. */
function respaced(
  parts: Parts,
  name: string,
  shape: MatrixShape,
  along: "rows" | "columns",
  bits: number,
): MadeTensor {
  const [rows, cols] = shape;
  const isRows = along === "rows";
  const words = wordsOf(isRows ? cols : rows, bits);
  return {
    ...{ dtype: "I32", shape: isRows ? [rows, words] : [words, cols], from: [name] },
    async make() {
      const { buffer, byteOffset } = aligned(await parts.read(name), 4);
      const [, width] = parts.need(name, name).shape;
      const stored = new Uint32Array(buffer, byteOffset);
      const each = Math.floor(32 / bits);
      const codes = new Uint8Array(sizeOf(shape));
      for (let row = 0, at = 0; row < rows; row++) {
        for (let col = 0; col < cols; col++) {
          const [i, line] = isRows ? [col, row * width] : [row, col];
          const word = line + Math.floor(i / each) * (isRows ? 1 : width);
          codes[at++] = (stored[word] >>> ((i % each) * bits)) & (2 ** bits - 1);
        }
      }
      return packMatrix(bits, shape, along, codes);
    },
  };
}
