import type { Backend } from "../backend.js";
import { pacer } from "../run.js";
import { gemmSteps, paceSteps } from "../steps.js";
import type { Tensor } from "../tensor.js";

/**
 * QR factorisation of square matrices through the Cholesky factor of AᵀA = LLᵀ: Q = A L⁻ᵀ and
 * R = Lᵀ, whose diagonal is positive. All of it are matrix products and triangular operations; Q is
 * orthogonal to about epsilon * cond(A)², so A should be near an orthogonal matrix.
 */
export class CholeskyQr {
  private readonly gram: Tensor;

  constructor(
    private readonly backend: Backend,
    n: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.gram = backend.zeros([n, n]);
  }

  /**
   * @param a [n, n]
   * @param q takes Q [n, n]; not a
   * @param inverse takes L⁻¹, the transpose of R⁻¹ [n, n]
   * @returns false when A is singular or not finite; `q` is unchanged then
   */
  async factor(a: Tensor, q: Tensor, inverse: Tensor): Promise<boolean> {
    const { backend, gram, signal } = this;
    await paceSteps(gemmSteps(backend, a, a, gram, { transposeA: true }), signal);
    if ((await backend.ops.cholesky(gram, { signal })) !== -1) return false;
    await backend.ops.triangularInverse(gram, inverse, { signal });
    await paceSteps(gemmSteps(backend, a, inverse, q, { transposeB: true }), signal);
    return true;
  }

  dispose(): void {
    this.gram.dispose();
  }
}

/**
 * The matrix [n, n] with orthonormal columns next to one whose columns nearly are: modified
 * Gram-Schmidt in float64, which is exact to rounding so near to the goal.
 *
 * @param matrix row-major, replaced
 */
export async function orthonormalise(
  matrix: Float32Array,
  n: number,
  signal?: AbortSignal,
): Promise<void> {
  // Column by column in memory, so that the inner loops run along it.
  const columns = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) columns[j * n + i] = matrix[i * n + j];
  }
  const breathe = pacer(signal);
  for (let j = 0; j < n; j++) {
    await breathe();
    const column = columns.subarray(j * n, (j + 1) * n);
    const length = Math.sqrt(dot(column, column));
    for (let i = 0; i < n; i++) column[i] /= length;
    for (let k = j + 1; k < n; k++) {
      const other = columns.subarray(k * n, (k + 1) * n);
      const share = dot(column, other);
      // Columns of different blocks of a block-diagonal matrix have nothing in common.
      if (share === 0) continue;
      for (let i = 0; i < n; i++) other[i] -= share * column[i];
    }
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) matrix[i * n + j] = columns[j * n + i];
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
