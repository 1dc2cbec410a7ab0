import type { Backend } from "./backend.js";
import { colsOf, rowsOf, type Tensor } from "./tensor.js";

/**
 * The two block-diagonal factors around a sparse core S [rows, cols]: the layer computes
 * y = A (S (B x)), and Ŵ = A S B (ARMOR, arXiv 2510.05528, equation 2).
 */
export interface Sandwich {
  /** A: f32 [rows / a, a, a], the blocks along the diagonal of [rows, rows]. */
  readonly left: Tensor;
  /** B: f32 [cols / b, b, b], the blocks along the diagonal of [cols, cols]. */
  readonly right: Tensor;
}

/** Values that a sandwich stores beside its core. */
export function sandwichValues({ left, right }: Sandwich): number {
  return left.size + right.size;
}

/**
 * The dense matrix Ŵ = A S B that a layer with this core and sandwich multiplies by.
 *
 * @param core S, f32 [rows, cols]
 * @returns f32 [rows, cols]; the caller disposes it
 */
export function reconstruct(backend: Backend, core: Tensor, { left, right }: Sandwich): Tensor {
  const [rows, cols] = [rowsOf(core), colsOf(core)];
  const [a, b] = [colsOf(left), colsOf(right)];
  // Rows of S times B are the block-diagonal product with Bᵀ; A S is blocks of rows times S.
  const transposed = backend.zeros(right.shape);
  for (let start = 0; start < cols; start += b) {
    backend.ops.transpose(backend.rows(right, start, b), backend.rows(transposed, start, b));
  }
  const product = backend.zeros([rows, cols]);
  backend.ops.blockDiagonal(core, transposed, product);
  const out = backend.zeros([rows, cols]);
  for (let start = 0; start < rows; start += a) {
    const block = backend.rows(left, start, a);
    backend.ops.gemm(block, backend.rows(product, start, a), backend.rows(out, start, a));
  }
  for (const tensor of [transposed, product]) tensor.dispose();
  return out;
}
