import type { Backend } from "../../src/backend.js";
import type { Leaf, Numbers, Structure } from "../../src/form.js";
import { fromBrain, fromHalf } from "../../src/forms/float.js";
import type { TensorData } from "../../src/tensor.js";
import { assertWithin, input, random, randomValues } from "./operands.js";

export const FORMATS = ["f32", "f16", "bf16", "int8"] as const;

/** A GPU may take f16 weights that are smaller than this for 0. */
const LEAST_NORMAL = 2 ** -14;

/** Weights as stored, and the numbers that they stand for. */
export interface FormatCase {
  readonly data: TensorData;
  readonly values: Float64Array;
  readonly numbers: Numbers;
  /** One for each row, of int8. */
  readonly scales?: Float32Array;
}

/** A leaf of such weights [rows, cols], with values that lie `width` in a row. */
export function leafOf(
  backend: Backend,
  { data, numbers, scales }: FormatCase,
  [rows, cols]: readonly number[],
  { width = cols, structure = { kind: "dense" } as Structure, indices = new Uint8Array() } = {},
): Leaf {
  const parts = new Map([["values", input(backend, data, width)]]);
  if (structure.kind === "n:m")
    parts.set("indices", input(backend, indices, indices.length / rows));
  if (scales) parts.set("scales", backend.upload(scales, [rows, 1]));
  return { kind: "leaf", shape: [rows, cols], structure, numbers, parts };
}

/**
 * Any finite f16: rows of ordinary weights among which are subnormals and zeros, rows of subnormals
 * alone, rows of zeros, and rows that reach the largest.
 */
function halves(rows: number, cols: number): Uint16Array {
  return Uint16Array.from({ length: rows * cols }, (_, i) => {
    const kind = Math.floor(i / cols) % 4;
    const sign = random() < 0.5 ? 0x8000 : 0;
    const fraction = Math.floor(random() * 1024);
    if (kind === 3 && cols > 8) return sign;
    const isTiny = kind === 2 || random() < 0.1;
    const exponent = isTiny
      ? 0
      : Math.floor(random() * (kind === 1 ? 30 : 6)) + (kind === 1 ? 1 : 10);
    return sign | (exponent << 10) | fraction;
  });
}

/** Random weights [rows, cols] in a format. */
export function formatCase(
  format: (typeof FORMATS)[number],
  rows: number,
  cols: number,
): FormatCase {
  if (format === "f32") {
    const data = randomValues(rows * cols);
    return { data, values: Float64Array.from(data), numbers: { kind: "float", dtype: format } };
  }
  if (format === "int8") {
    const bytes = Int8Array.from({ length: rows * cols }, () => Math.floor(random() * 256) - 128);
    const scales = Float32Array.from({ length: rows }, () => 2 ** -8 + random());
    return {
      data: Uint8Array.from(bytes, (byte) => byte + 128),
      values: Float64Array.from(bytes, (byte, i) => byte * scales[Math.floor(i / cols)]),
      numbers: { kind: "grid", bits: 8, symmetric: true },
      scales,
    };
  }
  if (format === "f16") {
    const data = halves(rows, cols);
    const numbers = { kind: "float", dtype: format } as const;
    return { data, values: Float64Array.from(data, fromHalf), numbers };
  }
  const data = new Uint16Array(
    new Uint32Array(randomValues(rows * cols).buffer).map((b) => b >>> 16),
  );
  const numbers = { kind: "float", dtype: format } as const;
  return { data, values: Float64Array.from(data, fromBrain), numbers };
}

/** What an element x [k] W [k] + bias is, and how large an error f32 sums may make. */
function expectedSum(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  bias: number,
  isGpu: boolean,
): { readonly value: number; readonly bound: number } {
  let [value, size, tiny] = [bias, Math.abs(bias), 0];
  for (let i = 0; i < w.length; i++) {
    const term = x[i] * w[i];
    value += term;
    size += Math.abs(term);
    if (isGpu && Math.abs(w[i]) < LEAST_NORMAL) tiny += Math.abs(term);
  }
  return { value, bound: 2 ** -23 * (4 + 2 * Math.sqrt(w.length)) * size + tiny };
}

/** Operands of a product x [tokens, cols] Wᵀ + bias, W [rows, cols]. */
export interface Product {
  readonly x: Float32Array;
  readonly w: Float32Array | Float64Array;
  readonly bias: Float32Array | undefined;
}

/** Requires a backend's product [tokens, rows] to be what float64 sums give, within f32's bounds. */
export function assertProduct(
  { name }: Backend,
  actual: ArrayLike<number>,
  { x, w, bias }: Product,
  [tokens, rows, cols]: readonly number[],
  what: string,
): void {
  const sums = Array.from({ length: tokens * rows }, (_, i) => {
    const [t, r] = [Math.floor(i / rows), i % rows];
    const token = x.subarray(t * cols, (t + 1) * cols);
    const row = w.subarray(r * cols, (r + 1) * cols);
    return expectedSum(token, row, bias?.[r] ?? 0, name === "webgpu");
  });
  assertWithin(
    actual,
    sums.map(({ value }) => value),
    (i) => sums[i].bound,
    `${name} ${what}: [${tokens}, ${cols}] by [${rows}, ${cols}]`,
  );
}
