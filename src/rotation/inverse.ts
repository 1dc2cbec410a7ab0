import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import { gemmSteps, paceSteps } from "../steps.js";
import { colsOf, type Tensor } from "../tensor.js";

/** Damping is raised tenfold at most this often before the block is given up. */
const ATTEMPTS = 6;

export interface InverseOptions {
  /** Added to the diagonal first, as a share of its mean. */
  readonly damping: number;
  /** Added to the inverse's diagonal, as a share of the same mean. */
  readonly scoreDamping: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The inverse of a damped Hessian [n, n], (H + damping mean I)⁻¹ + scoreDamping mean I. Dead inputs
 * (H_jj = 0) count as H_jj = 1, as in SparseGPT (arXiv 2301.00774).
 *
 * @param where name for messages
 * @throws PenjingError when it does not factorise whatever the damping
 */
export async function dampedInverse(
  backend: Backend,
  where: string,
  hessian: Tensor,
  { damping, scoreDamping, signal }: InverseOptions,
): Promise<{ inverse: Tensor; notes: string[] }> {
  const { ops } = backend;
  const n = colsOf(hessian);
  const vector = backend.zeros([n]);
  const factor = backend.zeros([n, n]);
  const notes: string[] = [];
  try {
    ops.diagonal(hessian, vector);
    const diagonal = (await backend.read(vector)) as Float32Array;
    const dead = diagonal.map((h) => (h > 0 ? 0 : 1));
    const mean = diagonal.reduce((sum, h, j) => sum + (dead[j] ? 1 : h), 0) / n;
    let used = damping;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++, used = used === 0 ? 0.01 : used * 10) {
      backend.copy(hessian, factor);
      backend.write(
        vector,
        dead.map((one) => one + used * mean),
      );
      ops.addDiagonal(factor, vector);
      if ((await ops.cholesky(factor, { signal })) !== -1) continue;
      if (used !== damping) {
        notes.push(
          `${where}: damping was raised from ${damping} to ${used} so that the Hessian factorises`,
        );
      }
      const inverse = backend.zeros([n, n]);
      await ops.triangularInverse(factor, factor, { signal });
      const square = gemmSteps(backend, factor, factor, inverse, { transposeA: true });
      await paceSteps(square, signal);
      backend.write(vector, new Float32Array(n).fill(scoreDamping * mean));
      ops.addDiagonal(inverse, vector);
      return { inverse, notes };
    }
    throw new PenjingError(
      where,
      `the Hessian of its inputs does not factorise even with damping ${used / 10}; give more or other calibration text, or rotate for "wanda" or "magnitude".`,
    );
  } finally {
    vector.dispose();
    factor.dispose();
  }
}
