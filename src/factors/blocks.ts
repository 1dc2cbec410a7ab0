import type { ArmorOptions, Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import type { Form, Leaf, MatrixShape } from "../form.js";
import { blocksLeaf, denseLeaf } from "../forms/leaf.js";
import type { LinearProblem } from "../method.js";
import { formatSparsity, type Sparsity } from "../sparsity.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";

/** How large the blocks of A and of B are. */
export type BlockSizes = Pick<ArmorOptions, "blockRows" | "blockCols">;

const SMALLEST_BLOCK = 4;
const LARGEST_BLOCK = 128;
/** A and B may take this share of the dense weights' number when the block size is chosen. */
const EXTRA_SHARE = 1 / 16;

/** The option `blockSize` of methods that put the core between two block-diagonal factors. */
export const BLOCK_SIZE = {
  kind: "number",
  default: 0,
  min: 0,
  max: LARGEST_BLOCK,
  integer: true,
  description: `size of the factors' blocks, ${SMALLEST_BLOCK} to ${LARGEST_BLOCK}; 0 chooses the largest whose values are at most 1/16 of the layer's`,
} as const;

/** Why such a method cannot prune to this sparsity; the sentence completes "<method> ". */
export function coreRefusal(sparsity: Sparsity): string | undefined {
  const asked = formatSparsity(sparsity);
  if (asked === "2:4") return undefined;
  return `cannot prune to ${asked}, because its core is 2:4; give \`sparsity: 2:4\` or another method.`;
}

/** The sizes of the blocks of A and of B: the largest divisors that are at most `wanted`. */
export function blocksOf(rows: number, cols: number, wanted: number): BlockSizes {
  const size = wanted || defaultBlock(rows, cols);
  return { blockRows: largestDivisor(rows, size, 1), blockCols: largestDivisor(cols, size, 4) };
}

/** The two block-diagonal factors around a core: W ≈ A S B (ARMOR, arXiv 2510.05528, equation 2). */
export interface BlockFactors {
  /** A: f32 [rows / a, a, a], the blocks along the diagonal of [rows, rows]. */
  readonly left: Tensor;
  /** B: f32 [cols / b, b, b], the blocks along the diagonal of [cols, cols]. */
  readonly right: Tensor;
}

/** A S B as a form, of the tensors themselves. */
export function coreForm(core: Tensor, { left, right }: BlockFactors): Form {
  const middle = denseLeaf(core, [rowsOf(core), colsOf(core)]);
  return { kind: "product", factors: [blocksLeaf(left), middle, blocksLeaf(right)] };
}

/** Values that are stored beside the core. */
export function factorValues({ left, right }: BlockFactors): number {
  return left.size + right.size;
}

/** What `Method.form` says for the option's value `wanted`. */
export function plannedForm([rows, cols]: MatrixShape, wanted: number): Form<undefined> {
  const { blockRows, blockCols } = blocksOf(rows, cols, wanted);
  const blocks = (n: number, size: number): Leaf<undefined> => ({
    ...denseLeaf(undefined, [n, n]),
    structure: { kind: "blocks", size },
  });
  const core = denseLeaf(undefined, [rows, cols]);
  return { kind: "product", factors: [blocks(rows, blockRows), core, blocks(cols, blockCols)] };
}

/**
 * The size of the blocks of A and of B, with a note where it is not the one asked for.
 *
 * @param wanted the option's value
 * @throws PenjingError when it is 1, 2 or 3
 */
export function chooseBlocks(
  { name, weight }: LinearProblem,
  wanted: number,
): { blocks: BlockSizes; notes: string[] } {
  const [rows, cols] = [rowsOf(weight), colsOf(weight)];
  if (wanted > 0 && wanted < SMALLEST_BLOCK) {
    throw new PenjingError(
      name,
      `blockSize is ${wanted}, must be 0 or ${SMALLEST_BLOCK} to ${LARGEST_BLOCK}: 0 chooses by the layer's size.`,
    );
  }
  const size = wanted || defaultBlock(rows, cols);
  const blocks = blocksOf(rows, cols, wanted);
  const { blockRows, blockCols } = blocks;
  const notes: string[] = [];
  if (blockRows !== size) {
    notes.push(`blocks of ${size} do not divide ${rows} rows; those of A are ${blockRows}`);
  }
  if (blockCols !== size) {
    notes.push(`blocks of ${size} do not divide ${cols} columns; those of B are ${blockCols}`);
  }
  return { blocks, notes };
}

/** The largest power of two whose A and B have at most EXTRA_SHARE of the layer's values. */
function defaultBlock(rows: number, cols: number): number {
  const most = (EXTRA_SHARE * rows * cols) / (rows + cols);
  let size = SMALLEST_BLOCK;
  while (size * 2 <= Math.min(most, LARGEST_BLOCK)) size *= 2;
  return size;
}

/** The largest divisor of n that is at most `limit` and a multiple of `unit`, which divides n. */
function largestDivisor(n: number, limit: number, unit: number): number {
  let size = limit - (limit % unit);
  while (size > unit && n % size !== 0) size -= unit;
  return Math.max(size, unit);
}

/** Factors for blocks of these sizes: identities. */
export function identityFactors(
  { backend, weight }: LinearProblem,
  { blockRows, blockCols }: BlockSizes,
): BlockFactors {
  return {
    left: identities(backend, rowsOf(weight) / blockRows, blockRows),
    right: identities(backend, colsOf(weight) / blockCols, blockCols),
  };
}

function identities(backend: Backend, count: number, size: number): Tensor {
  const isDiagonal = (i: number) => Math.floor(i / size) % size === i % size;
  const data = Float32Array.from({ length: count * size * size }, (_, i) => Number(isDiagonal(i)));
  return backend.upload(data, [count, size, size]);
}
