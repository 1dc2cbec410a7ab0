import type { Backend } from "../backend.js";
import { type Weight, weightShape } from "../backends/operations/form.js";
import { DTYPE_BYTES, toFloat32 } from "../checkpoint/dtype.js";
import { DeviceError, PenjingError } from "../errors.js";
import type { Form } from "../form.js";
import { floatsAsF32, partRules, visitLeaf } from "../forms/leaf.js";
import { readCodes } from "../forms/packed-grid.js";
import { layerError } from "../layer-error.js";
import type { FinishedTensor } from "../layout.js";
import { Random } from "../random.js";
import { pacer } from "../run.js";
import type { Sparsity } from "../sparsity.js";
import type { Tensor, TensorData } from "../tensor.js";

const FLOATS: readonly string[] = ["F32", "F16", "BF16", "F64"];
/** Values that are looked at together. */
const PIECE = 2 ** 20;
/** How far a device's sum may be from the exact one, as a share of the sum of its terms' sizes. */
const TOLERANCE = 1e-4;

/** A layer as it is to be kept. */
export interface MadeLayer {
  readonly name: string;
  /** What is to be kept of it. */
  readonly stored: readonly FinishedTensor[];
  /** [outFeatures * inFeatures], 1 = kept. */
  readonly mask: Uint8Array;
  readonly sparsity: Sparsity;
  /** Its weight as it is kept, where that is one dense tensor. */
  readonly dense: FinishedTensor | undefined;
}

/** The error of a result that cannot be right: of a GPU, which may lie, or else of the numbers. */
function wrong({ name }: Backend, layer: string, what: string): PenjingError {
  if (name === "webgpu") return new DeviceError(`${layer}: ${what}; use \`backend: wasm\`.`);
  return new PenjingError(
    layer,
    `${what}; leave the layer out with \`ignore\`, or take another method or damping.`,
  );
}

/**
 * Holds a layer against what every result keeps to, on the bytes that are to be kept: its values are
 * finite, its mask keeps N of every M where that is asked for, and what the mask removes is 0.
 *
 * @throws DeviceError where a GPU made it, else PenjingError; the signal's reason when it was aborted
 */
export async function checkLayer(
  backend: Backend,
  made: MadeLayer,
  signal?: AbortSignal,
): Promise<void> {
  const rest = pacer(signal);
  const { name, stored, mask, sparsity, dense } = made;
  for (const tensor of stored.filter(({ dtype }) => FLOATS.includes(dtype))) {
    const { bits, exponent, size } = bitsOf(tensor);
    for (let first = 0; first < bits.length; first += PIECE) {
      await rest();
      const piece = bits.subarray(first, first + PIECE);
      if (!areFinite(piece, exponent, size)) {
        let bad = 0;
        for (const one of bits) if ((one & exponent) === exponent) bad++;
        const kind = `NaN or infinite in ${tensor.dtype}`;
        throw wrong(backend, name, `${bad} values of ${tensor.name} came out ${kind}`);
      }
      if (tensor === dense && !areZero(piece, mask.subarray(first, first + PIECE), size)) {
        throw wrong(backend, name, "a weight that its mask removes is not 0");
      }
    }
  }
  if (sparsity.kind !== "n:m") return;
  const { n, m } = sparsity;
  for (let first = 0; first < mask.length; first += PIECE * m) {
    await rest();
    const kept = mostKept(mask.subarray(first, first + PIECE * m), m);
    if (kept > n) throw wrong(backend, name, `its mask keeps ${kept} of ${m} weights, not ${n}`);
  }
}

/** Whether no exponent is of ones alone, as infinity's and NaN's are. */
function areFinite(bits: Bits, exponent: number, size: number): boolean {
  // The exponent's lowest bit, added, goes over into the sign only where all of its bits are set.
  const one = size + 1 - exponent;
  let sums = 0;
  for (let i = 0; i < bits.length; i++) sums |= (bits[i] & size) + one;
  return (sums & (size + 1)) === 0;
}

/** Whether what a mask removes is 0 or -0. */
function areZero(bits: Bits, mask: Uint8Array, size: number): boolean {
  let remains = 0;
  for (let i = 0; i < bits.length; i++) remains |= bits[i] & (mask[i] - 1);
  return (remains & size) === 0;
}

/** The most that is kept of any M. */
function mostKept(mask: Uint8Array, m: number): number {
  let most = 0;
  for (let at = 0; at < mask.length; at += m) {
    let kept = 0;
    for (let i = at; i < at + m; i++) kept += mask[i];
    if (kept > most) most = kept;
  }
  return most;
}

/** A row of numbers in float64, and for each the sum of the sizes of its terms. */
interface Row {
  readonly values: Float64Array;
  readonly sizes: Float64Array;
}

/**
 * Holds a GPU's product of one random row with what is to be kept against the sums in float64.
 *
 * @param form names of tensors of `stored`
 * @param weight what they were uploaded and prepared as
 * @throws DeviceError when they differ by more than rounding
 */
export async function checkProduct(
  backend: Backend,
  name: string,
  form: Form<string>,
  stored: readonly FinishedTensor[],
  weight: Weight,
): Promise<void> {
  if (backend.name !== "webgpu") return;
  const [rows, cols] = weightShape(weight);
  const random = new Random(cols);
  const x = Float32Array.from({ length: cols }, () => random.next() - 0.5);
  const [input, out] = [backend.upload(x, [1, cols]), backend.zeros([1, rows])];
  try {
    backend.ops.multiply(input, weight, out);
    const found = (await backend.read(out)) as Float32Array;
    const row = { values: Float64Array.from(x), sizes: Float64Array.from(x, Math.abs) };
    const { values, sizes } = timesForm(row, form, stored);
    for (const [i, value] of values.entries()) {
      // Not "differs by more": NaN must not pass.
      if (Math.abs(found[i] - value) <= TOLERANCE * sizes[i]) continue;
      throw wrong(backend, name, `the GPU's product with it is ${found[i]}, must be ${value}`);
    }
  } finally {
    input.dispose();
    out.dispose();
  }
}

/**
 * Holds the error that a GPU finds of one random row of a layer against the CPU's, which takes the
 * row's product with the Hessian from another kernel.
 *
 * @param original f32 [outFeatures, inFeatures], as is `pruned`
 * @throws DeviceError when they differ by more than rounding
 */
export async function checkError(
  backend: Backend,
  name: string,
  original: Tensor,
  pruned: Tensor,
  hessian: Tensor,
): Promise<void> {
  if (backend.name !== "webgpu") return;
  const [rows, cols] = original.shape;
  const at = Math.floor(new Random(cols).next() * rows);
  const [whole, kept] = [backend.rows(original, at, 1), backend.rows(pruned, at, 1)];
  const found = await layerError(backend, whole, kept, hessian);
  const w = (await backend.read(whole)) as Float32Array;
  const both = new Float32Array(2 * cols);
  both.set(w);
  ((await backend.read(kept)) as Float32Array).forEach((value, i) => {
    both[cols + i] = w[i] - value;
  });
  const [input, out] = [backend.upload(both, [2, cols]), backend.zeros([2, cols])];
  try {
    backend.ops.multiply(input, hessian, out);
    const products = (await backend.read(out)) as Float32Array;
    const dot = (first: number) => {
      let [sum, size] = [0, 0];
      for (let i = first; i < first + cols; i++) {
        sum += both[i] * products[i];
        size += Math.abs(both[i] * products[i]);
      }
      return { sum, size };
    };
    const [all, lost] = [dot(0), dot(cols)];
    const expected = all.sum > 0 ? lost.sum / all.sum : 0;
    const slack = all.sum > 0 ? (lost.size + expected * all.size) / all.sum : 0;
    if (!(Math.abs(found - expected) <= TOLERANCE * slack)) {
      throw wrong(backend, name, `the GPU's error of row ${at} is ${found}, must be ${expected}`);
    }
  } finally {
    input.dispose();
    out.dispose();
  }
}

/** x Wᵀ for the matrix W that a form stands for. */
function timesForm(x: Row, form: Form<string>, stored: readonly FinishedTensor[]): Row {
  if (form.kind === "product") {
    return form.factors.reduceRight((row, factor) => timesForm(row, factor, stored), x);
  }
  if (form.kind === "sum") {
    const terms = form.terms.map((term) => timesForm(x, term, stored));
    for (const { values, sizes } of terms.slice(1)) {
      for (const [i, value] of values.entries()) terms[0].values[i] += value;
      for (const [i, size] of sizes.entries()) terms[0].sizes[i] += size;
    }
    return terms[0];
  }
  if (form.kind === "shared") {
    throw new PenjingError(form.of, "it is shared by a form that is checked; check it itself.");
  }
  const [rows, cols] = form.shape;
  const [values, sizes] = [new Float64Array(rows), new Float64Array(rows)];
  const add = (value: number, row: number, col: number) => {
    values[row] += value * x.values[col];
    sizes[row] += Math.abs(value) * x.sizes[col];
  };
  const tensorOf = (name: string) => stored.find((one) => one.name === name)!;
  if (form.structure.kind === "dense" && form.numbers.kind === "float") {
    const each = Math.max(1, Math.floor(PIECE / cols));
    for (let first = 0; first < rows; first += each) {
      const piece = rowsOf(tensorOf(form.parts.get("values")!), first, each, cols);
      addRows(piece, x, { values: values.subarray(first), sizes: sizes.subarray(first) });
    }
    return { values, sizes };
  }
  const parts = new Map<string, TensorData>();
  for (const rule of partRules(form)) {
    const { name, dtype } = rule;
    const { bytes, ...tensor } = tensorOf(form.parts.get(name)!);
    const codes = () => readCodes(form, rule, tensor.dtype, bytes)!;
    parts.set(name, dtype === "u8" ? codes() : toFloat32(tensor, bytes));
  }
  visitLeaf(floatsAsF32({ ...form, parts }), (value, at) => {
    add(value, Math.floor(at / cols), at % cols);
  });
  return { values, sizes };
}

type Bits = Uint16Array | Uint32Array;

/** The bits of a tensor's floats, and which of them are the exponent and all but the sign. */
function bitsOf({ name, dtype, bytes }: FinishedTensor) {
  const { buffer, byteOffset, length } = bytes;
  if (dtype === "F16" || dtype === "BF16") {
    const bits = new Uint16Array(buffer, byteOffset, length / 2);
    return { bits, exponent: dtype === "F16" ? 0x7c00 : 0x7f80, size: 0x7fff };
  }
  const values = dtype === "F32" ? bytes : new Uint8Array(toFloat32({ name, dtype }, bytes).buffer);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length / 4);
  return { bits, exponent: 0x7f800000, size: 0x7fffffff };
}

/** Some rows of a matrix as f32. */
function rowsOf(
  { name, dtype, bytes }: FinishedTensor,
  first: number,
  count: number,
  cols: number,
): Float32Array {
  const rowBytes = cols * DTYPE_BYTES[dtype];
  return toFloat32({ name, dtype }, bytes.subarray(first * rowBytes, (first + count) * rowBytes));
}

/** out += x Wᵀ for whole rows of W. */
function addRows(weights: Float32Array, x: Row, out: Row): void {
  const { values, sizes } = x;
  const cols = values.length;
  for (let at = 0, row = 0; at < weights.length; at += cols, row++) {
    let [value, size] = [0, 0];
    for (let i = 0; i < cols; i++) {
      value += weights[at + i] * values[i];
      size += Math.abs(weights[at + i]) * sizes[i];
    }
    out.values[row] += value;
    out.sizes[row] += size;
  }
}
