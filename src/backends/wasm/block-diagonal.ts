import type { Operations } from "../../backend.js";
import type { Form } from "../../form.js";
import { isBlocks } from "../../forms/blocks.js";
import { colsOf, f32, rowsOf } from "../../tensor.js";
import type { Claim, KernelMatrix } from "../forms.js";
import { address, cut, floatsAt, freeing, type Kernels, runRanges } from "./kernels.js";

/** The smallest multiple of `grain`, a power of two, that whole blocks of `size` fill. */
export function wholeBlocks(size: number, grain: number): number {
  let common = size;
  while (common % grain !== 0) common += size;
  return common;
}

/** out [tokens, cols] = x [tokens, cols] times a block-diagonal matrix plus bias, all by address. */
export function multiplyBlocks(
  kernels: Kernels,
  { tokens, cols, size }: { tokens: number; cols: number; size: number },
  { x, blocks, out, bias = 0 }: { x: number; blocks: number; out: number; bias?: number },
): void {
  const work = tokens * cols * size;
  runRanges(
    kernels,
    "blockDiagonalMultiply",
    cut(kernels, cols, wholeBlocks(size, 4), work),
    work,
    () => kernels.exports.blockDiagonalScratch(tokens, size),
    ({ start, count }) => [tokens, cols, size, x, blocks, out, bias, start, start + count],
  );
}

/** Blocks of a form on a diagonal, copied. */
export interface BlocksMatrix extends Omit<KernelMatrix, "multiply" | "embed"> {
  /** Address of the blocks, f32. */
  readonly blocks: number;
  /** Rows of a block. */
  readonly size: number;
}

/** A copy of a form that is blocks; undefined for other forms. */
export function prepareBlocks(kernels: Kernels, form: Form | undefined): BlocksMatrix | undefined {
  if (!form || !isBlocks(form)) return undefined;
  const values = form.parts.get("values")!;
  const [rows, cols] = form.shape;
  const bytes = 4 * values.size;
  const blocks = kernels.storage.reserve(bytes);
  floatsAt(kernels, blocks, values.size).set(f32(values));
  const dispose = freeing(kernels, blocks, bytes);
  return { rows, cols, bytes, blocks, size: colsOf(values), dispose };
}

export function blocksClaim(kernels: Kernels): Claim {
  return (form) => {
    const matrix = prepareBlocks(kernels, form);
    if (!matrix) return undefined;
    const { cols, size, blocks } = matrix;
    return {
      ...matrix,
      multiply(x, out, bias) {
        const operands = { x: address(x), blocks, out: address(out) };
        const shape = { tokens: rowsOf(x), cols, size };
        multiplyBlocks(kernels, shape, { ...operands, bias: bias && address(bias) });
      },
    };
  };
}

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    blockDiagonal(x, blocks, out, { bias } = {}) {
      const shape = { tokens: rowsOf(x), cols: colsOf(x), size: colsOf(blocks) };
      const operands = { x: address(x), blocks: address(blocks), out: address(out) };
      multiplyBlocks(kernels, shape, { ...operands, bias: bias && address(bias) });
    },
  };
}
