/// <reference lib="esnext.disposable" preserve="true" />
import type { Tensor, TensorData, TensorDType } from "./tensor.js";

/** Half-precision formats that weights are stored in. */
export type HalfFormat = "f16" | "bf16";

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

export interface GemmOptions {
  /** Read `a` as [K, M] and use its transpose. @default false */
  readonly transposeA?: boolean;
  /** Read `b` as [N, K] and use its transpose. @default false */
  readonly transposeB?: boolean;
  /** Factor on the product. @default 1 */
  readonly alpha?: number;
  /** Add to `out` instead of overwriting it. @default false */
  readonly accumulate?: boolean;
}

export interface LinearOptions {
  /** [outFeatures], added to every row. */
  readonly bias?: Tensor;
}

export interface AttentionOptions {
  readonly heads: number;
  /** Key-value heads; divides `heads`. */
  readonly kvHeads: number;
  readonly headDim: number;
  /** A query sees at most this many positions, itself included. @default unlimited */
  readonly window?: number;
}

/** Work that may take long. */
export interface Cancellable {
  /** Stops the work within 100 ms or so; what it was writing is left half done then. */
  readonly signal?: AbortSignal;
}

export interface SparseGptSweepOptions extends Cancellable {
  /** N:M (`n` kept of every `m` columns), or the ratio of weights to remove. */
  readonly pattern: { readonly n: number; readonly m: number } | { readonly ratio: number };
  /** Columns updated together before the trailing matrix is. A multiple of m. @default 128 */
  readonly blockSize: number;
}

export interface EntropyOptions {
  /** Factors on w², one for each element along a line that is normalised. @default ones */
  readonly scale?: Tensor;
  /** Divide by `scale` instead of multiplying. @default false */
  readonly inverse?: boolean;
  /** As long as `scale`: takes the derivatives by it. */
  readonly scaleGradient?: Tensor;
  /** Add the derivatives to what `gradient` and `scaleGradient` hold. @default false */
  readonly accumulate?: boolean;
}

export interface RemovedOptions extends EntropyOptions {
  /** How many stay of every `of` consecutive elements of a line: from 0 to `of`. */
  readonly keep: number;
  /** At most 16; divides the line. */
  readonly of: number;
}

export interface AdamOptions {
  readonly learningRate: number;
  /** Updates done, this one included: from 1. */
  readonly step: number;
  /** Decay of the mean of gradients. @default 0.9 */
  readonly beta1?: number;
  /** Decay of the mean of squared gradients. @default 0.999 */
  readonly beta2?: number;
  /** @default 1e-8 */
  readonly epsilon?: number;
  /** Factor on the gradient, such as one that clips its norm. @default 1 */
  readonly scale?: number;
}

/** Blocks of A and B in an ARMOR optimisation. */
export interface ArmorOptions {
  /** Size of A's blocks; divides the rows. */
  readonly blockRows: number;
  /** Size of B's blocks; divides the columns, a multiple of 4. */
  readonly blockCols: number;
  /** Stops the preparation within 100 ms; nothing is kept then. */
  readonly signal?: AbortSignal;
}

/**
 * An ARMOR optimisation (arXiv 2510.05528) in progress on its backend: W̄ ≈ A S B with A and B
 * block-diagonal and S 2:4-sparse. Holds the latest iterate, Adam's state and the best iterate.
 */
export interface ArmorState {
  /** Pairs of a block of A and one of B: (rows / blockRows) * (cols / blockCols). */
  readonly pairs: number;
  /** The proxy f before the first iteration. */
  readonly startProxy: number;
  dispose(): void;
}

export interface ArmorAdvanceOptions {
  /** Adam's step. */
  readonly learningRate: number;
  /** Stops between rows of blocks, within 100 ms; afterwards the state can only be disposed. */
  readonly signal?: AbortSignal;
}

export interface CoreSweepOptions {
  /** From the last columns to the first. @default false */
  readonly backwards?: boolean;
}

/** Where `armorRead` writes. */
export interface ArmorIterate {
  /** f32 [rows, cols]: S, zero where mask is. */
  readonly core: Tensor;
  /** u8 [rows, cols], 1 = kept. */
  readonly mask: Tensor;
  /** f32 [rows / blockRows, blockRows, blockRows]: A's blocks. */
  readonly left: Tensor;
  /** f32 [cols / blockCols, blockCols, blockCols]: B's blocks. */
  readonly right: Tensor;
}

/**
 * Every operation that a backend can run. Tensors are f32 unless said otherwise, matrices are
 * row-major, outputs are given by the caller and never alias inputs unless said so. Operations
 * return once queued; those that hand a number to JavaScript return a promise. Shapes are checked
 * before a kernel is called, in `backends/checks.ts`, once for all backends.
 */
export interface Operations {
  /** out [M, N] = alpha * A [M, K] B [K, N]  (+ out). */
  gemm(a: Tensor, b: Tensor, out: Tensor, options?: GemmOptions): void;
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

  /** H [C, C] += scale * XᵀX over x [T, C]. Only the upper triangle (column >= row) is defined until `mirrorUpper`. */
  accumulateHessian(x: Tensor, hessian: Tensor, scale: number): void;
  /** Copies the upper triangle of a square matrix onto its lower one. */
  mirrorUpper(a: Tensor): void;
  /** sums [C] += column sums of squares of x [T, C]. */
  accumulateColumnSquares(x: Tensor, sums: Tensor): void;
  /** trace(D H Dᵀ) for d [R, C] and symmetric h [C, C]: the squared Frobenius norm of X Dᵀ when H = XᵀX. */
  quadraticForm(d: Tensor, h: Tensor, options?: Cancellable): Promise<number>;
  /** Sum of squares of all elements. */
  sumOfSquares(x: Tensor): Promise<number>;
  /** Number of elements that are NaN or infinite. */
  countNonFinite(x: Tensor): Promise<number>;

  /** In-place lower Cholesky factor of the symmetric a [n, n] (lower triangle read); the strict upper triangle is set to zero. Resolves to -1, or to the first pivot that was not positive. */
  cholesky(a: Tensor, options?: Cancellable): Promise<number>;
  /** out [n, n] = inverse of the lower-triangular l, lower-triangular with a zero strict upper triangle. */
  triangularInverse(l: Tensor, out: Tensor, options?: Cancellable): Promise<void>;
  /** Reverses the order of rows and of columns of a square matrix in place: a[i][j] <-> a[n-1-i][n-1-j]. */
  reverse(a: Tensor): void;
  /** SparseGPT's column sweep (arXiv 2301.00774): prunes and updates w [R, C] in place with u [C, C], the upper Cholesky factor of H⁻¹; writes mask u8 [R, C] (1 = kept). Resolves to the predicted loss: the sum of e²/2. */
  sparsegptSweep(
    w: Tensor,
    u: Tensor,
    mask: Tensor,
    options: SparseGptSweepOptions,
  ): Promise<number>;

  /** out = |w| * columnScale[column] * rowScale[row] for w [R, C]; a missing scale is 1. */
  scaledMagnitude(
    w: Tensor,
    out: Tensor,
    columnScale: Tensor | undefined,
    rowScale: Tensor | undefined,
  ): void;
  /** mask u8 [R, C] = 1 for the n largest scores of every m consecutive columns; ties prune the lowest column first. m <= 16 divides C. */
  selectNofM(scores: Tensor, mask: Tensor, n: number, m: number): void;
  /** mask u8 [R, C] = 0 for exactly the `count` smallest scores of each row, ties pruning the lowest column first. */
  selectPerRow(scores: Tensor, mask: Tensor, count: number): void;
  /** mask u8 [R, C] = 0 for exactly the `count` smallest scores of the whole matrix, ties pruning the lowest flat index first. */
  selectPerMatrix(scores: Tensor, mask: Tensor, count: number): void;
  /** out [C] = the diagonal of a [C, C]. */
  diagonal(a: Tensor, out: Tensor): void;
  /** a [C, C] += diag(values [C]). */
  addDiagonal(a: Tensor, values: Tensor): void;
  /** w [R, C] *= scale [C], column by column. */
  scaleColumns(w: Tensor, scale: Tensor): void;
  /** out [R] = sum over columns of (w [R, C] * columnScale [C])². */
  rowSquares(w: Tensor, out: Tensor, columnScale: Tensor): void;
  /** out = a - b, elementwise. `out` may be a or b. */
  subtract(a: Tensor, b: Tensor, out: Tensor): void;

  /** Resolves to the sum over rows of the entropy -sum p log p, in nats, where p is w² * scale [C] normalised over a row of w [R, C]; gradient [R, C] takes the derivatives by w. Importance that is zero, or too small for a normal float32 p, adds nothing and has no derivative. */
  entropyRows(w: Tensor, gradient: Tensor, options?: EntropyOptions): Promise<number>;
  /** The same over columns: p is w² * scale [R] normalised over a column. */
  entropyColumns(w: Tensor, gradient: Tensor, options?: EntropyOptions): Promise<number>;
  /** Resolves to the sum over rows of C * lost / total: of the importance w² * scale [C] of a row of w [R, C], total is the sum and lost that of the of - keep smallest in every `of` consecutive columns, the lowest column first among equals. gradient [R, C] takes the derivatives by w with that choice held fixed. Rows whose total is no normal float32 add nothing and have no derivative. */
  removedRows(w: Tensor, gradient: Tensor, options: RemovedOptions): Promise<number>;
  /** The same over columns: R * lost / total, groups being `of` consecutive rows of a column. */
  removedColumns(w: Tensor, gradient: Tensor, options: RemovedOptions): Promise<number>;
  /** out [C] = sum over rows of a [R, C] * b [R, C], column by column: the diagonal of AᵀB. */
  columnDots(a: Tensor, b: Tensor, out: Tensor): void;
  /** x [R, C] += factor * y [R, C] * scale [C], column by column. */
  addScaledColumns(x: Tensor, y: Tensor, scale: Tensor, factor: number): void;
  /** a = a - aᵀ for square a, in place. */
  antisymmetrise(a: Tensor): void;
  /** One step of Adam (arXiv 1412.6980) on x, in place, as are its moments `first` and `second`, all of one size. */
  adam(x: Tensor, gradient: Tensor, first: Tensor, second: Tensor, options: AdamOptions): void;

  /** out [T, C] = x [T, C] times a block-diagonal matrix with blocks [C/b, b, b], plus bias [C]: stretch k of a row of out is blocks[k] times stretch k of that row of x. */
  blockDiagonal(x: Tensor, blocks: Tensor, out: Tensor, options?: LinearOptions): void;

  /** Starts an ARMOR optimisation of f = sum_j h_j ||(A S B - W̄)_:j||² / sum_j h_j ||W̄_:j||² from A = B = I and S = W̄ where mask is 1: W̄ [R, C] `target`, h [C] `importance`, mask u8 [R, C] keeping 2 of every 4 columns. Copies what it needs. */
  armorOpen(
    target: Tensor,
    importance: Tensor,
    mask: Tensor,
    options: ArmorOptions,
  ): Promise<ArmorState>;
  /**
   * One iteration for each row of `choices` [steps, pairs]: an Adam step (betas 0.9 and 0.999) on
   * A, B and the kept values of S, then in every pair of blocks the best support and values of one
   * group of 4. An f32 choice in [0, 1) draws the group with probability proportional to the L1
   * norm of its gradient; an i32 choice is the group itself, row * blockCols / 4 + column group
   * within the pair's block. Pairs are numbered row by row. A pair without gradient is skipped.
   * Resolves to f after each iteration; the best iterate is kept.
   */
  armorAdvance(
    state: ArmorState,
    choices: Tensor,
    options: ArmorAdvanceOptions,
  ): Promise<Float64Array>;
  /** Writes the iterate with the smallest f so far, the start included. */
  armorRead(state: ArmorState, out: ArmorIterate): void;
  /** All that later iterations depend on, in a form of the backend's own. */
  armorSave(state: ArmorState): Promise<Uint8Array>;
  /** Sets an optimisation that was opened on the same operands to where `armorSave` took it. */
  armorLoad(state: ArmorState, saved: Uint8Array): void;

  /**
   * One pass of block coordinate descent over a 2:4 core [R, C], in place with its mask u8 [R, C]:
   * group by group of 4 columns it takes the two places and values that lower f most, all others
   * staying. f is a constant + 2 <D, dS> + sum over blocks p of rows of trace(G_p dS_p H dS_pᵀ), with
   * G [R / a, a, a] `gram`, H [C, C] `hessian`, both symmetric, and D [R, C] `gradient`, half of df/dS
   * at the start, which the pass uses up. Resolves to what f falls by.
   */
  coreSweep(
    core: Tensor,
    mask: Tensor,
    gradient: Tensor,
    gram: Tensor,
    hessian: Tensor,
    options?: CoreSweepOptions,
  ): Promise<number>;
  /** out [C, R] = a [R, C] transposed. */
  transpose(a: Tensor, out: Tensor): void;

  /** w = 0 where mask u8 is 0. */
  applyMask(w: Tensor, mask: Tensor): void;

  /** out f32 = bits u16 read as f16 or bf16; exact. */
  widen(bits: Tensor, out: Tensor, format: HalfFormat): void;
  /** out u16 = x rounded to nearest, ties to even; f16 overflow becomes infinity. */
  narrow(x: Tensor, out: Tensor, format: HalfFormat): void;

  /** out [T, C] = x / sqrt(mean(x²) + eps) * gain [C], row by row. `out` may be x. A gain shorter than a row is applied to each stretch of its length alone (q/k norm per head). */
  rmsNorm(x: Tensor, gain: Tensor, out: Tensor, eps: number): void;
  /** Rotates x [T, heads * headDim] in place: row t is position start + t; element i of a head pairs with i + headDim/2. cos and sin are [positions, headDim/2]. */
  rope(x: Tensor, cos: Tensor, sin: Tensor, start: number): void;
  /** Causal attention: q [T, heads*headDim], k and v [S, kvHeads*headDim] with S >= T; query t is at position S - T + t and sees positions up to its own. out [T, heads*headDim]. Scores are scaled by 1/sqrt(headDim). */
  attention(q: Tensor, k: Tensor, v: Tensor, out: Tensor, options: AttentionOptions): void;
  /** out = silu(gate) * up, elementwise. `out` may be gate or up. */
  swiglu(gate: Tensor, up: Tensor, out: Tensor): void;
  /** x += y, elementwise. */
  add(x: Tensor, y: Tensor): void;
  /** out [T, C] = rows ids i32 [T] of table f32 [V, C], or prepared by `prepareLinear`. */
  embed(table: Tensor | DenseMatrix, ids: Tensor, out: Tensor): void;
  /** out = softmax(x / temperature) row by row. `out` may be x. */
  softmax(x: Tensor, out: Tensor, temperature: number): void;
  /** out [T, 2] = where the largest element of each row of x [T, C] stands, the first of equals, and the element itself; a NaN counts as the largest. Places are exact up to 2^24. */
  argmax(x: Tensor, out: Tensor): void;
  /** out [T] = -log softmax(logits [T, V])[targets i32 [T]], in nats. */
  crossEntropy(logits: Tensor, targets: Tensor, out: Tensor): void;
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
  /** Whether operations have run when they return; otherwise they are queued, and never keep timers waiting. */
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
   * Rows [start, start + count) as a view without a copy, which the parent must outlive; leading
   * dimensions are flattened.
   *
   * @param cols length of a row. @default that of the tensor
   */
  rows(tensor: Tensor, start: number, count: number, cols?: number): Tensor;
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
