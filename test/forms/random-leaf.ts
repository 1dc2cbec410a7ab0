/** Random leaves of any structure and numbers, and what they stand for, written down a second time. */
import type { Form, Leaf, Numbers, Structure } from "../../src/form.js";
import { fromBrain, fromHalf } from "../../src/forms/float.js";
import { K_TYPES } from "../../src/forms/k-type.js";
import type { TensorData } from "../../src/tensor.js";
import { random } from "../backends/operands.js";

/** A form with its parts on the host, and the numbers of its matrix [rows, cols]. */
export interface HostForm {
  readonly form: Form<TensorData>;
  readonly values: Float64Array;
  /** Products of magnitudes, as large as `values` where nothing cancels. */
  readonly sizes: Float64Array;
}

export interface HostLeaf extends HostForm {
  readonly form: Leaf<TensorData>;
}

/** Places of values in a row, and the bytes that say so. */
function kept(structure: Structure, rows: number, cols: number) {
  if (structure.kind !== "n:m") return undefined;
  const { n, m } = structure;
  const bits = Math.ceil(Math.log2(m));
  const width = Math.ceil(((cols / m) * n * bits) / 8);
  const indices = new Uint8Array(rows * width);
  const places: number[] = [];
  for (let row = 0; row < rows; row++) {
    let bit = 0;
    for (let start = 0; start < cols; start += m) {
      const columns = Array.from({ length: m }, (_, i) => i);
      while (columns.length > n) columns.splice(Math.floor(random() * columns.length), 1);
      for (const column of columns) {
        places.push(row * cols + start + column);
        for (let i = 0; i < bits; i++, bit++) {
          if (column & (1 << i)) indices[row * width + (bit >> 3)] |= 1 << (bit & 7);
        }
      }
    }
  }
  return { places, indices };
}

function blockPlaces(size: number, rows: number): number[] {
  const places: number[] = [];
  for (let start = 0; start < rows; start += size) {
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) places.push((start + i) * rows + start + j);
    }
  }
  return places;
}

/** A random leaf; its numbers are between -2 and 2. */
export function randomLeaf(
  structure: Structure,
  numbers: Numbers,
  [rows, cols]: readonly [number, number],
): HostLeaf {
  const sparse = kept(structure, rows, cols);
  const places =
    sparse?.places ??
    (structure.kind === "blocks"
      ? blockPlaces(structure.size, rows)
      : Array.from({ length: rows * cols }, (_, i) => i));
  const parts = new Map<string, TensorData>();
  const values = new Float64Array(rows * cols);
  if (numbers.kind === "float") {
    const floats = Float32Array.from(places, () => 2 * random() - 1);
    const bits = new Uint32Array(floats.buffer);
    // Of f16: a sign, exponents from 2^-7 to 1/2, and any fraction.
    const halves = Uint16Array.from(bits, (b) =>
      numbers.dtype === "bf16"
        ? b >>> 16
        : ((b >>> 16) & 0x8000) | ((((b >> 20) % 7) + 8) << 10) | (b & 1023),
    );
    const stored = numbers.dtype === "f32" ? floats : halves;
    const read = { f32: (i: number) => floats[i], f16: (i: number) => fromHalf(halves[i]) };
    const value =
      numbers.dtype === "bf16" ? (i: number) => fromBrain(halves[i]) : read[numbers.dtype];
    places.forEach((at, i) => {
      values[at] = value(i);
    });
    parts.set("values", stored);
  } else if (numbers.kind === "k-type") {
    const { bits, groupSize, hasMinima } = K_TYPES[numbers.type];
    const [groups, blocks] = [(rows * cols) / groupSize, (rows * cols) / 256];
    const codes = Uint8Array.from(places, () => Math.floor(random() * 2 ** bits));
    const each = hasMinima ? 2 : 1;
    const units = Float32Array.from(
      { length: each * blocks },
      () => Math.ceil(64 * random()) / 2 ** 17,
    );
    const multiples = (first: number) =>
      Float32Array.from({ length: groups }, (_, i) => {
        const level = Math.floor(64 * random()) - (hasMinima ? 0 : 32);
        return level * units[each * Math.floor((i * groupSize) / 256) + first];
      });
    const [scales, minima] = [multiples(0), hasMinima ? multiples(1) : undefined];
    places.forEach((at, i) => {
      const group = Math.floor(at / groupSize);
      values[at] = minima
        ? codes[i] * scales[group] - minima[group]
        : (codes[i] - 32) * scales[group];
    });
    parts.set("values", codes).set("scales", scales).set("units", units);
    if (minima) parts.set("minima", minima);
  } else {
    const { bits, groupSize = cols } = numbers;
    const symmetric = numbers.kind === "grid" && numbers.symmetric;
    const groups = Math.ceil(cols / groupSize);
    const isPairs = numbers.kind === "pairs";
    const codes = Uint8Array.from(isPairs ? places.slice(places.length / 2) : places, () =>
      Math.floor(random() * 2 ** bits),
    );
    const book = Float32Array.from(
      { length: isPairs ? 2 ** (bits + 1) : 0 },
      () => 4 * random() - 2,
    );
    const scales = Float32Array.from({ length: rows * groups }, () => (random() + 0.1) / 2 ** bits);
    const zeros =
      numbers.kind === "affine"
        ? Float32Array.from(scales, () => Math.floor(8 * random() * 2 ** bits) / 8)
        : Uint8Array.from(scales, () => Math.floor(random() * 2 ** bits));
    const levels = Float32Array.from({ length: 2 ** bits }, (_, i) => ((i * i) % 11) - 5).sort();
    places.forEach((at, i) => {
      const group = Math.floor(at / cols) * groups + Math.floor((at % cols) / groupSize);
      if (isPairs) {
        values[at] = book[2 * codes[Math.floor(i / 2)] + (i % 2)] * scales[group];
        return;
      }
      const zero = symmetric ? 2 ** (bits - 1) : zeros[group];
      const level = numbers.kind === "table" ? levels[codes[i]] : codes[i] - zero;
      values[at] = level * scales[group];
    });
    parts.set("values", codes).set("scales", scales);
    if (numbers.kind === "table") parts.set("table", levels);
    else if (isPairs) parts.set("codebook", book);
    else if (!symmetric) parts.set("zeros", zeros);
  }
  if (sparse) parts.set("indices", sparse.indices);
  const form = { kind: "leaf", shape: [rows, cols], structure, numbers, parts } as const;
  return { form, values, sizes: values.map(Math.abs) };
}

function times(a: Float64Array, b: Float64Array, rows: number): Float64Array {
  const inner = a.length / rows;
  const cols = b.length / inner;
  const out = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < inner; k++) {
      for (let j = 0; j < cols; j++) out[i * cols + j] += a[i * inner + k] * b[k * cols + j];
    }
  }
  return out;
}

export function productOf(rows: number, ...factors: readonly HostForm[]): HostForm {
  const [first, ...rest] = factors;
  return {
    form: { kind: "product", factors: factors.map(({ form }) => form) },
    values: rest.reduce((made, { values }) => times(made, values, rows), first.values),
    sizes: rest.reduce((made, { sizes }) => times(made, sizes, rows), first.sizes),
  };
}

export function sumOf(...terms: readonly HostForm[]): HostForm {
  const add = (a: Float64Array, b: Float64Array) => a.map((value, i) => value + b[i]);
  return {
    form: { kind: "sum", terms: terms.map(({ form }) => form) },
    values: terms.map(({ values }) => values).reduce(add),
    sizes: terms.map(({ sizes }) => sizes).reduce(add),
  };
}
