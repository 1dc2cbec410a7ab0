import { PenjingError } from "../errors.js";
import type { LinearProblem } from "../method.js";
import { colsOf, type Tensor } from "../tensor.js";

/** Damping is raised tenfold at most this often before the layer is given up. */
const ATTEMPTS = 6;

/** A sentence's part on inputs that were always zero. */
export function deadInputs(count: number): string {
  return count === 1 ? "1 input was always zero" : `${count} inputs were always zero`;
}

/**
 * The upper Cholesky factor U of the inverse of the damped Hessian, H⁻¹ = UᵀU. With J the order
 * reversal and JHJ = LLᵀ, U = J L⁻¹ J: one factorisation and one triangular inverse. Weights of
 * dead inputs (H_jj = 0) are set to zero.
 */
export async function inverseFactor(
  { name, backend, weight, statistics, signal }: LinearProblem,
  damping: number,
): Promise<{ factor: Tensor; dead: number; notes: string[] }> {
  const { ops } = backend;
  const hessian = statistics.tensors.hessian;
  const cols = colsOf(weight);
  const vector = backend.zeros([cols]);
  ops.diagonal(hessian, vector);
  const diagonal = (await backend.read(vector)) as Float32Array;
  const alive = diagonal.map((h) => (h > 0 ? 1 : 0));
  const dead = cols - alive.reduce((sum, one) => sum + one, 0);
  if (dead > 0) {
    backend.write(vector, alive);
    ops.scaleColumns(weight, vector);
  }
  const mean = diagonal.reduce((sum, h, j) => sum + (alive[j] ? h : 1), 0) / cols;
  const damped = backend.zeros([cols, cols]);
  const notes: string[] = [];
  let used = damping;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++, used = used === 0 ? 0.01 : used * 10) {
    backend.copy(hessian, damped);
    backend.write(
      vector,
      alive.map((one) => 1 - one + used * mean),
    );
    ops.addDiagonal(damped, vector);
    ops.reverse(damped);
    if ((await ops.cholesky(damped, { signal })) !== -1) continue;
    if (used !== damping) {
      notes.push(`damping was raised from ${damping} to ${used} so that the Hessian factorises`);
    }
    await ops.triangularInverse(damped, damped, { signal });
    ops.reverse(damped);
    vector.dispose();
    return { factor: damped, dead, notes };
  }
  damped.dispose();
  vector.dispose();
  throw new PenjingError(
    name,
    `the Hessian of its inputs does not factorise even with damping ${used / 10}; give more or other calibration text, or leave the layer out with \`ignore: "${name}"\`.`,
  );
}
