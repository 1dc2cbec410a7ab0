/** Scales the inputs of linears and divides what makes them, so that a block computes what it did. */
import type { Backend } from "../backend.js";
import type { NormSpec } from "../model.js";
import type { BlockWeights } from "../models/decoder.js";
import { colsOf, rowsOf, type StoredDType, type Tensor } from "../tensor.js";
import type { ScaleGroup } from "./groups.js";
import { columnScales, type Folded } from "./search.js";

/** Rounds values to what a checkpoint's dtype holds of them. */
export type Rounding = (values: Float32Array) => Promise<Float32Array>;

/** The nearest powers of two, by which bf16 and f16 are divided without loss. */
export function powersOfTwo(scales: Float32Array): Float32Array {
  return scales.map((t) => 2 ** Math.round(Math.log2(t)));
}

/** Whether values of a dtype have too few bits to be divided by any number. */
export function isHalf(dtype: StoredDType): boolean {
  return dtype === "BF16" || dtype === "F16";
}

/**
 * The scales that stored gains can be divided by exactly: the gains are rounded first, and t becomes what
 * was really divided by, which the weights behind take up. 1 where a gain is lost, or was 0.
 *
 * @param gains as the block multiplies by them
 */
export async function foldedGains(
  gains: Float32Array,
  scales: Float32Array,
  { plusOne = false }: Pick<NormSpec, "plusOne">,
  rounding: Rounding,
): Promise<Required<Folded>> {
  const less = plusOne ? 1 : 0;
  const rounded = await rounding(gains.map((gain, i) => gain / scales[i] - less));
  const folded = rounded.map((gain) => gain + less);
  const isLost = (i: number) => {
    const off = gains[i] / folded[i] / scales[i];
    return !(off >= 0.5 && off <= 2);
  };
  return {
    gains: folded.map((gain, i) => (isLost(i) ? gains[i] : gain)),
    scales: folded.map((gain, i) => (isLost(i) ? 1 : gains[i] / gain)),
  };
}

/** w [R, C] *= factors [R], row by row, in place. */
export function scaleRows(backend: Backend, w: Tensor, factors: Tensor): void {
  const turned = backend.zeros([colsOf(w), rowsOf(w)]);
  try {
    backend.ops.transpose(w, turned);
    backend.ops.scaleColumns(turned, factors);
    backend.ops.transpose(turned, w);
  } finally {
    turned.dispose();
  }
}

/**
 * Multiplies the columns of a group's linears by the scales, and divides what makes their inputs: the rows
 * of a linear and their biases, or a norm's bias and gains.
 *
 * @param block dense, changed in place
 * @param folded what the producer is divided by
 */
export function foldScales(
  backend: Backend,
  block: BlockWeights,
  group: ScaleGroup,
  { scales, gains }: Folded,
): void {
  const { ops } = backend;
  const { consumers, norm, rows, channels } = group;
  const by = backend.upload(scales, [channels]);
  const inverse = backend.upload(
    scales.map((t) => 1 / t),
    [channels],
  );
  try {
    for (const { name, shape } of consumers) {
      const columns = columnScales(scales, group, shape[1]);
      const vector = backend.upload(columns, [columns.length]);
      ops.scaleColumns(block.linears[name].weight as Tensor, vector);
      vector.dispose();
    }
    const divide = (vector: Tensor, first = 0) => {
      ops.scaleColumns(rowOf(backend, vector, first, channels), inverse);
    };
    if (rows) {
      const { weight, bias } = block.linears[rows.linear];
      scaleRows(backend, backend.rows(weight as Tensor, rows.first, channels), inverse);
      if (bias) divide(bias, rows.first);
    }
    if (norm) {
      const { gain, bias } = block.norms[norm.name];
      if (gains) backend.write(gain, gains);
      else divide(gain);
      if (bias) divide(bias);
    }
  } finally {
    for (const vector of [by, inverse]) vector.dispose();
  }
}

/** Some elements of a vector as a row. */
function rowOf(backend: Backend, vector: Tensor, first: number, count: number): Tensor {
  const part = backend.rows(vector, first, count, 1);
  return backend.rows(part, 0, 1, count);
}
