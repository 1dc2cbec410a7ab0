import type { Backend } from "../backend.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";
import type { BlockFactors } from "./blocks.js";

/** Share that the diagonals of normal equations are raised by, so that rounding cannot take over. */
const RIDGE = 1e-6;
/** Multiply-adds of one call, at most: some 30 ms. */
const CALL = 3e8;
/** Rows of one call, at least, so that packing the other operand does not dominate. */
const FEWEST_ROWS = 16;

/** What a descent works on. All tensors stay the caller's. */
export interface DescentProblem {
  readonly backend: Backend;
  /** W f32 [rows, cols] */
  readonly target: Tensor;
  /** H f32 [cols, cols], symmetric. */
  readonly hessian: Tensor;
  /** d f32 [cols]: what damping multiplies. */
  readonly diagonal: Tensor;
  /** S f32 [rows, cols] and its mask u8, 2:4; changed in place. */
  readonly core: Tensor;
  readonly mask: Tensor;
  /** A and B, changed in place. */
  readonly factors: BlockFactors;
  /** Called between pieces of work of some 30 ms; may throw to stop it. */
  readonly breathe: () => Promise<void>;
}

/**
 * Block coordinate descent on f = tr(E H Eᵀ), E = A S B - W: A, then each block of B, by least
 * squares, then each group of S with its places. No step raises f, rounding aside.
 */
export interface Descent {
  /** From now on H is raised by factor * diag(d). */
  damp(factor: number): void;
  /** f without damping; the next round starts from what this computes. */
  measure(): Promise<number>;
  /** All three steps, after `measure`. `backwards` sweeps S from its last columns to its first. */
  round(backwards: boolean): Promise<void>;
  dispose(): void;
}

/** Prepares a descent: about eight more matrices of the layer's size and three of H's. */
export async function openDescent(problem: DescentProblem): Promise<Descent> {
  const { backend, target, hessian, diagonal, core, mask, factors, breathe } = problem;
  const { ops } = backend;
  const { left, right } = factors;
  const [rows, cols] = [rowsOf(target), colsOf(target)];
  const [a, b] = [colsOf(left), colsOf(right)];
  const owned: Tensor[] = [];
  const take = (...shape: number[]) => {
    const tensor = backend.zeros(shape);
    owned.push(tensor);
    return tensor;
  };
  const floats = async (tensor: Tensor) => (await backend.read(tensor)) as Float32Array;
  const block = (tensor: Tensor, i: number, size: number) => backend.rows(tensor, i * size, size);
  const blocksOfA = Array.from({ length: rows / a }, (_, p) => p);
  const blocksOfB = Array.from({ length: cols / b }, (_, q) => q);

  /** Pieces of rows, whole blocks of `unit`, small enough for one call over [cols, cols]. */
  async function slices(unit: number, use: (start: number, count: number) => Promise<void> | void) {
    const fit = Math.max(FEWEST_ROWS, CALL / Math.max(1, cols * cols));
    const step = Math.max(1, Math.floor(fit / unit)) * unit;
    for (let start = 0; start < rows; start += step) {
      await use(start, Math.min(step, rows - start));
      await breathe();
    }
  }
  /** out = x H for x [rows, cols]. */
  const timesHessian = (x: Tensor, out: Tensor) =>
    slices(1, (start, count) =>
      ops.gemm(backend.rows(x, start, count), damped, backend.rows(out, start, count)),
    );
  /** out = A x, or Aᵀ x. */
  const timesLeft = (x: Tensor, out: Tensor, transposeA = false) => {
    for (const p of blocksOfA) {
      ops.gemm(block(left, p, a), block(x, p, a), block(out, p, a), { transposeA });
    }
  };

  // H raised by the damping, and W H with either.
  const damped = take(cols, cols);
  const [undampedTargetH, targetH] = [take(rows, cols), take(rows, cols)];
  // S B and S B H; A S B - W, and (A S B - W) H.
  const [inner, innerH] = [take(rows, cols), take(rows, cols)];
  const [error, errorH] = [take(rows, cols), take(rows, cols)];
  const [flippedCore, flippedError] = [take(cols, rows), take(cols, rows)];
  const move = take(b, rows);
  const rightTransposed = take(...right.shape);
  const [grams, crosses] = [take(...left.shape), take(...left.shape)];
  const [gram, cross, delta] = [take(b, b), take(b, b), take(b, b)];
  const [halfTurned, turned] = [take(cols, cols), take(cols, cols)];
  const sums = take(cols);
  const weights = await floats(diagonal);
  const undampedCorners = diagonalBlocks(await floats(hessian), cols, b);
  const corners = undampedCorners.slice();
  let damping = 0;
  backend.copy(hessian, damped);
  await timesHessian(target, undampedTargetH);
  backend.copy(undampedTargetH, targetH);

  const residual = () => {
    timesLeft(innerH, errorH);
    ops.subtract(errorH, targetH, errorH);
  };

  /** A minimises f while S and B stay: A += -E H Tᵀ (T H Tᵀ)⁻¹ with T = S B, block by block. */
  async function fitLeft() {
    for (const p of blocksOfA) {
      const t = block(inner, p, a);
      ops.gemm(block(innerH, p, a), t, block(grams, p, a), { transposeB: true });
      ops.gemm(block(errorH, p, a), t, block(crosses, p, a), { transposeB: true });
    }
    const [values, matrices, sides] = [
      await floats(left),
      await floats(grams),
      await floats(crosses),
    ];
    for (const p of blocksOfA) {
      const [from, to] = [p * a * a, (p + 1) * a * a];
      const step = solveRows(matrices.subarray(from, to), sides.subarray(from, to), a);
      for (let i = from; i < to; i++) values[i] -= step[i - from];
      await breathe();
    }
    backend.write(left, values);
    residual();
  }

  /**
   * One block of B after another minimises f while all else stays: B_q += -M⁻¹ T_qᵀ (E H)_q H_qq⁻¹
   * with T = A S and M = T_qᵀ T_q. Columns of a block are rows of the transposed matrices.
   */
  async function fitRight() {
    timesLeft(core, error);
    ops.transpose(error, flippedCore);
    ops.transpose(errorH, flippedError);
    const values = await floats(right);
    for (const q of blocksOfB) {
      const t = block(flippedCore, q, b);
      ops.gemm(t, t, gram, { transposeB: true });
      ops.gemm(t, block(flippedError, q, b), cross, { transposeB: true });
      const side = solveRows(corners.subarray(q * b * b), await floats(cross), b);
      const step = transposed(solveRows(await floats(gram), transposed(side, b), b), b);
      const change = Float32Array.from(step, (value) => -value);
      for (let i = 0; i < change.length; i++) values[q * b * b + i] += change[i];
      backend.write(delta, change);
      ops.gemm(delta, t, move, { transposeA: true });
      const options = { transposeA: true, accumulate: true };
      ops.gemm(block(damped, q, b), move, flippedError, options);
      await breathe();
    }
    backend.write(right, values);
    ops.transpose(flippedError, errorH);
  }

  /** Every group of S once, in the coordinates of A and B: Gram matrices AᵀA and B H Bᵀ. */
  async function sweepCore(backwards: boolean) {
    for (const p of blocksOfA) {
      const one = block(left, p, a);
      ops.gemm(one, one, block(grams, p, a), { transposeA: true });
    }
    timesLeft(errorH, inner, true);
    ops.blockDiagonal(inner, right, error);
    ops.blockDiagonal(damped, right, halfTurned);
    await breathe();
    for (const q of blocksOfB) {
      ops.gemm(block(right, q, b), block(halfTurned, q, b), block(turned, q, b));
    }
    await slices(a, async (start, count) => {
      const [s, kept, gradient, norms] = [core, mask, error, grams].map((tensor) =>
        backend.rows(tensor, start, count),
      );
      await ops.coreSweep(s, kept, gradient, norms, turned, { backwards });
    });
  }

  return {
    damp(factor) {
      damping = factor;
      backend.write(
        sums,
        weights.map((d) => factor * d),
      );
      backend.copy(hessian, damped);
      ops.addDiagonal(damped, sums);
      backend.copy(undampedTargetH, targetH);
      ops.addScaledColumns(targetH, target, diagonal, factor);
      corners.set(undampedCorners);
      for (let row = 0; row < cols; row++) corners[row * b + (row % b)] += factor * weights[row];
    },
    async measure() {
      const values = await floats(right);
      for (const q of blocksOfB) {
        const one = values.subarray(q * b * b, (q + 1) * b * b);
        one.set(transposed(one, b));
      }
      backend.write(rightTransposed, values);
      ops.blockDiagonal(core, rightTransposed, inner);
      await timesHessian(inner, innerH);
      residual();
      timesLeft(inner, error);
      ops.subtract(error, target, error);
      ops.columnDots(error, errorH, sums);
      const raised = (await floats(sums)).reduce((sum, value) => sum + value, 0);
      ops.columnDots(error, error, sums);
      const squares = (await floats(sums)).reduce((sum, value, j) => sum + value * weights[j], 0);
      return raised - damping * squares;
    },
    async round(backwards) {
      await fitLeft();
      await fitRight();
      await sweepCore(backwards);
    },
    dispose() {
      for (const tensor of owned) tensor.dispose();
    },
  };
}

/** The blocks [b, b] on the diagonal of a matrix [n, n], one after another. */
function diagonalBlocks(matrix: Float32Array, n: number, b: number): Float32Array {
  return Float32Array.from({ length: n * b }, (_, i) => {
    const row = Math.floor(i / b);
    return matrix[row * n + row - (row % b) + (i % b)];
  });
}

function transposed<T extends Float32Array | Float64Array>(matrix: T, n: number): T {
  return matrix.map((_, i) => matrix[(i % n) * n + Math.floor(i / n)]) as T;
}

/**
 * X with X G = Y by Cholesky's factors in float64, G's diagonal raised by RIDGE. Unknowns that G says
 * nothing of are zero.
 *
 * @param g symmetric and positive semidefinite [n, n]; the lower triangle is read
 * @param y [n, n]
 */
function solveRows(g: ArrayLike<number>, y: ArrayLike<number>, n: number): Float64Array {
  const x = new Float64Array(n * n);
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const ridge = RIDGE * g[i * (n + 1)];
    for (let j = 0; j <= i; j++) {
      let sum = g[i * n + j];
      for (let k = 0; k < j; k++) sum -= l[i * n + k] * l[j * n + k];
      if (j < i) l[i * n + j] = sum / l[j * (n + 1)];
      else
        l[i * n + i] = ridge > 0 ? Math.sqrt(Math.max(sum, 0) + ridge) : Number.POSITIVE_INFINITY;
    }
  }
  for (let r = 0; r < n * n; r += n) {
    for (let i = 0; i < n; i++) {
      let sum = y[r + i];
      for (let k = 0; k < i; k++) sum -= l[i * n + k] * x[r + k];
      x[r + i] = sum / l[i * (n + 1)];
    }
    for (let i = n - 1; i >= 0; i--) {
      let sum = x[r + i];
      for (let k = i + 1; k < n; k++) sum -= l[k * n + i] * x[r + k];
      x[r + i] = sum / l[i * (n + 1)];
    }
  }
  return x;
}
