/// <reference lib="esnext.disposable" preserve="true" />
import type { HalfFormat } from "./backends/operations/convert.js";
import type { Operations as Joined } from "./backends/operations/index.js";
import type { Tensor, TensorData, TensorDType } from "./tensor.js";

export type { ArmorOptions, ArmorState } from "./backends/operations/armor.js";
export type { HalfFormat } from "./backends/operations/convert.js";
export type { EntropyOptions } from "./backends/operations/entropy.js";

/**
 * A dense matrix in whatever form the backend multiplies fastest without widening it as a whole, made
 * once by `Operations.prepareLinear`.
 */
export interface DenseMatrix {
  readonly rows: number;
  readonly cols: number;
  /** Bytes that the prepared form takes in the backend's memory. */
  readonly bytes: number;
  dispose(): void;
}

/**
 * A 2:4-sparse matrix in whatever form the backend multiplies fastest, made once by
 * `Operations.prepareTwoFour` and never expanded to dense.
 */
export interface TwoFourMatrix {
  readonly rows: number;
  readonly cols: number;
  /** Bytes that the prepared form takes in the backend's memory. */
  readonly bytes: number;
  dispose(): void;
}

/** How the elements of weights are to be read, where their type leaves that open. */
export interface WeightOptions {
  /** What u16 elements hold. @default "f16" */
  readonly format?: HalfFormat;
  /** f32 [rows], which the elements of u8 weights, read as int8, are multiplied with; u8 needs it. */
  readonly scales?: Tensor;
}

export interface LinearOptions {
  /** [outFeatures], added to every row. */
  readonly bias?: Tensor;
}

/**
 * Every operation that a backend can run. Tensors are f32 unless said otherwise, matrices are
 * row-major, outputs are given by the caller and never alias inputs unless said so. Operations
 * return once queued; those that hand a number to JavaScript return a promise. Shapes are checked
 * before a kernel is called, in `backends/checks.ts`, once for all backends.
 */
export interface Operations extends Joined {
  /** out [T, outFeatures] = x [T, inFeatures] Wᵀ + bias, W [outFeatures, inFeatures] f32, u16 holding f16, or prepared. Any T, 1 included (GEMV). Sums are f32; with one token and prepared f16 weights x must stay below 2^79 in size; a GPU may take f16 weights below 2^-14 in size for 0. */
  linear(x: Tensor, weight: Tensor | DenseMatrix, out: Tensor, options?: LinearOptions): void;
  /** The form of a dense matrix that `linear` and `embed` read: weight [outFeatures, inFeatures] f32, u16 holding f16 or bf16, or u8 holding int8. The inputs may be disposed afterwards. */
  prepareLinear(weight: Tensor, options?: WeightOptions): DenseMatrix;
  /** The form of a packed 2:4 matrix that `twoFourLinear` reads. values [rows, cols/2] f32, u16 holding f16 or bf16, or u8 holding int8; indices u8 [rows, ceil(cols/8)] as in layouts/two-four.ts; cols a multiple of 4. The inputs may be disposed afterwards. */
  prepareTwoFour(
    values: Tensor,
    indices: Tensor,
    cols: number,
    options?: WeightOptions,
  ): TwoFourMatrix;
  /** out [T, rows] = x [T, cols] Wᵀ + bias with W 2:4-sparse, read in compressed form. Sums are f32; with one token and f16 values x must stay below 2^79 in size; a GPU may take f16 values below 2^-14 in size for 0. */
  twoFourLinear(x: Tensor, weight: TwoFourMatrix, out: Tensor, options?: LinearOptions): void;
  /** out [T, rows] = A (S (B x)) + bias for each row x of x [T, cols]: S 2:4-sparse, A block-diagonal with blocks `left` [rows/a, a, a], B with `right` [cols/b, b, b]. `work`, of at least rows + cols elements, is overwritten; as many tokens at a time as it has room for go through the three products. */
  sandwichLinear(
    x: Tensor,
    weight: TwoFourMatrix,
    factors: { readonly left: Tensor; readonly right: Tensor },
    work: Tensor,
    out: Tensor,
    options?: LinearOptions,
  ): void;
  /** Packs w [rows, cols] into values f32 [rows, cols/2] and indices u8 [rows, ceil(cols/8)] (layouts/two-four.ts). Resolves to the flat index of the first group of 4 with more than 2 non-zeros (counting row-major, cols/4 groups a row), or -1 when all fit. */
  packTwoFour(w: Tensor, values: Tensor, indices: Tensor): Promise<number>;
  /** The inverse of `packTwoFour`: fills w [rows, cols]. */
  unpackTwoFour(values: Tensor, indices: Tensor, w: Tensor): void;
  /** out [T, C] = x [T, C] times a block-diagonal matrix with blocks [C/b, b, b], plus bias [C]: stretch k of a row of out is blocks[k] times stretch k of that row of x. */
  blockDiagonal(x: Tensor, blocks: Tensor, out: Tensor, options?: LinearOptions): void;
  /** out [T, C] = rows ids i32 [T] of table f32 [V, C], or prepared by `prepareLinear`. */
  embed(table: Tensor | DenseMatrix, ids: Tensor, out: Tensor): void;
}

export type OperationName = keyof Operations;

/** Copies between the host's memory and a backend's own, by `upload` and `write`, and by `read`. */
export type TransferName = "upload" | "read";

/** One line of "which backend served what": kept for every operation that was called. */
export interface ServedOperation {
  readonly operation: OperationName | TransferName;
  /** Backend whose kernel ran. */
  readonly servedBy: string;
  readonly calls: number;
  /** Why that one, where it is known. */
  readonly reason?: string;
  /** In which way that backend runs, such as "relaxed SIMD, 2 threads", where there is a choice. */
  readonly how?: string;
  /** Bytes that a transfer copied; absent of operations, and of backends in the host's memory. */
  readonly copiedBytes?: number;
}

export interface MemoryUse {
  /** Bytes of tensors now alive. */
  readonly live: number;
  /** Largest `live` since the backend was opened. */
  readonly peak: number;
}

/** A place to compute: storage for tensors and a full table of operations over them. */
export interface Backend {
  readonly name: string;
  /** What besides the name decides the bits of results: "relaxed SIMD", or "" for nothing. */
  readonly arithmetic: string;
  /**
   * Whether operations have run when they return. Otherwise they are queued, and never keep timers
   * waiting.
   */
  readonly runsAtOnce: boolean;
  /** The 16-bit formats in which `prepareLinear` and `prepareTwoFour` keep weights as they are. */
  readonly halfFormats: readonly HalfFormat[];
  readonly ops: Operations;
  /** A zero-filled tensor. */
  zeros(shape: readonly number[], dtype?: TensorDType): Tensor;
  /** A tensor holding a copy of `data`; the dtype follows from the array's type. */
  upload(data: TensorData, shape: readonly number[]): Tensor;
  /** Overwrites a tensor with `data` of the same dtype and size. */
  write(tensor: Tensor, data: TensorData): void;
  /** A copy of the tensor's elements. */
  read(tensor: Tensor): Promise<TensorData>;
  /**
   * Rows [start, start + count) as a view without a copy; leading dimensions are flattened. The
   * parent must outlive it.
   */
  rows(tensor: Tensor, start: number, count: number): Tensor;
  /** Copies all elements of `from` to `to`, same dtype and size. */
  copy(from: Tensor, to: Tensor): void;
  /** Which backend served each operation called so far. */
  served(): readonly ServedOperation[];
  memory(): MemoryUse;
  /** Frees everything. The backend cannot be used afterwards. */
  dispose(): void;
  /** The same at the end of a block that declared it with `using`. */
  [Symbol.dispose](): void;
}
