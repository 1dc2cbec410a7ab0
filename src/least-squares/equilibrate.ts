import type { Backend } from "../backend.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";

/** A Hessian whose inputs all have the same size, and what brings weights there and back. */
export interface Equilibrated {
  /** D⁻¹ H D⁻¹ + damping I, f32 [cols, cols], with D² the diagonal of H; of dead inputs 1 + damping. */
  readonly hessian: Tensor;
  /** D, f32 [cols]: weights W become W D. 1 for dead inputs. */
  readonly there: Tensor;
  /** D⁻¹, f32 [cols]. */
  readonly back: Tensor;
  /** 1 for inputs that were ever other than zero, 0 for dead ones; f32 [cols]. */
  readonly alive: Tensor;
  dispose(): void;
}

/**
 * Scales a Hessian to a diagonal of ones, which makes any damping mean the same for every input and is
 * the best diagonal preconditioner at hand.
 *
 * @param hessian f32 [cols, cols], symmetric; not changed
 * @param damping added to the diagonal of ones
 * @param room f32 [cols, cols] of the caller's that the scaled one is put into. @default a new tensor
 */
export async function equilibrate(
  backend: Backend,
  hessian: Tensor,
  damping: number,
  room?: Tensor,
): Promise<Equilibrated> {
  const { ops } = backend;
  const cols = colsOf(hessian);
  const vector = (values: Float32Array) => backend.upload(values, [cols]);
  const there = backend.zeros([cols]);
  ops.diagonal(hessian, there);
  const diagonal = (await backend.read(there)) as Float32Array;
  const alive = vector(diagonal.map((h) => Number(h > 0)));
  const roots = diagonal.map((h) => (h > 0 ? Math.sqrt(h) : 1));
  backend.write(there, roots);
  const factors = roots.map((root) => 1 / root);
  const back = vector(factors);
  const scaled = room ?? backend.zeros([cols, cols]);
  backend.copy(hessian, scaled);
  ops.scaleColumns(scaled, back);
  scaleRows(backend, scaled, factors);
  const raise = vector(diagonal.map((h) => damping + Number(!(h > 0))));
  ops.addDiagonal(scaled, raise);
  raise.dispose();
  return {
    ...{ hessian: scaled, there, back, alive },
    dispose() {
      if (scaled !== room) scaled.dispose();
      for (const tensor of [there, back, alive]) tensor.dispose();
    },
  };
}

/** Rows that are scaled together. */
const PANEL = 512;

/** x = diag(scale) x, in place. */
function scaleRows(backend: Backend, x: Tensor, scale: Float32Array): void {
  const { ops } = backend;
  const [rows, cols] = [rowsOf(x), colsOf(x)];
  const room = backend.zeros([cols, Math.min(PANEL, rows)]);
  for (let start = 0; start < rows; start += PANEL) {
    const count = Math.min(PANEL, rows - start);
    const factors = backend.upload(scale.slice(start, start + count), [count]);
    const panel = backend.rows(x, start, count);
    const turned = backend.rows(room, 0, cols, count);
    ops.transpose(panel, turned);
    ops.scaleColumns(turned, factors);
    ops.transpose(turned, panel);
    factors.dispose();
  }
  room.dispose();
}

/**
 * M⁻¹ as the product of a triangular matrix with itself: L⁻¹ with M = L Lᵀ, so that M⁻¹ = L⁻ᵀ L⁻¹.
 *
 * @param matrix M, f32 [n, n], symmetric; L⁻¹, lower triangular, takes its place
 * @returns false when M is not positive definite
 */
export async function takeInverseRoot(
  backend: Backend,
  matrix: Tensor,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if ((await backend.ops.cholesky(matrix, { signal })) !== -1) return false;
  await backend.ops.triangularInverse(matrix, matrix, { signal });
  return true;
}
