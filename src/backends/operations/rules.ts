import { PenjingError } from "../../errors.js";
import { colsOf, rowsOf, type Tensor, type TensorDType } from "../../tensor.js";

/**
 * Throws unless `holds`; the message is for the caller of the operation, not for an end user. One
 * that names a shape is a function: to write shapes down takes longer than a small product.
 */
export function rule(operation: string, holds: boolean, message: string | (() => string)): void {
  if (holds) return;
  throw new PenjingError(operation, typeof message === "string" ? message : message());
}

export function dtype(
  operation: string,
  name: string,
  tensor: Tensor,
  expected: TensorDType,
): void {
  rule(
    operation,
    tensor.dtype === expected,
    () => `${name} is ${tensor.dtype}, must be ${expected}; convert it first.`,
  );
}

/** Requires an f32 tensor that seen as a matrix is rows x cols. */
export function matrix(
  operation: string,
  name: string,
  tensor: Tensor,
  rows: number,
  cols: number,
  expected: TensorDType = "f32",
): void {
  dtype(operation, name, tensor, expected);
  rule(
    operation,
    rowsOf(tensor) === rows && (colsOf(tensor) === cols || tensor.size === 0),
    () => `${name} is [${tensor.shape}], must be [${rows}, ${cols}] for the other operands.`,
  );
}

export function vector(operation: string, name: string, tensor: Tensor, length: number): void {
  dtype(operation, name, tensor, "f32");
  rule(
    operation,
    tensor.size === length,
    () => `${name} has ${tensor.size} elements, must have ${length}.`,
  );
}

export function square(operation: string, name: string, tensor: Tensor): number {
  const n = colsOf(tensor);
  matrix(operation, name, tensor, n, n);
  return n;
}

/** Requires the blocks of a block-diagonal matrix [length, length]. */
export function diagonalBlocks(
  operation: string,
  name: string,
  blocks: Tensor,
  length: number,
): void {
  const size = colsOf(blocks);
  matrix(operation, name, blocks, length, size);
  rule(
    operation,
    size > 0 && length % size === 0,
    () => `${name} of ${size} do not divide a row of ${length}.`,
  );
}

export function sameSize(operation: string, a: Tensor, b: Tensor): void {
  rule(operation, a.size === b.size, `operands have ${a.size} and ${b.size} elements, must agree.`);
}

/** Requires a pattern that keeps n of every m, and lines that it divides. */
export function patternRule(
  operation: string,
  length: number,
  n: number,
  m: number,
  what = "columns",
): void {
  rule(
    operation,
    Number.isInteger(n) && Number.isInteger(m) && n >= 0 && n <= m && m >= 1 && m <= 16,
    `pattern ${n}:${m} must keep 0 <= N <= M weights of every M, with M at most 16.`,
  );
  rule(operation, length % m === 0, `${length} ${what} are not a multiple of M=${m}.`);
}
