import type { Backend } from "../../src/backend.js";
import { hasRelaxedSimd, type Simd } from "../../src/backends/wasm/module.js";
import { openWasm } from "../../src/backends/wasm.js";
import { openPeak, type Peak } from "./peak.js";

/** The kernels that this runtime can take. */
export function availableModes(): readonly Simd[] {
  return hasRelaxedSimd() ? ["baseline", "relaxed"] : ["baseline"];
}

/** The kernels of one mode, and the peak that they are measured against. */
export interface Contender {
  readonly mode: Simd;
  readonly backend: Backend;
  readonly peak: Peak;
}

/** A backend of its own, on one thread, for each mode that this runtime has. */
export function openContenders(): Promise<Contender[]> {
  return Promise.all(
    availableModes().map(async (mode) => ({
      mode,
      backend: await openWasm({ simd: mode, threads: 1 }),
      peak: await openPeak(mode),
    })),
  );
}

/** Values between -0.5 and 0.5. */
export function randomValues(size: number): Float32Array {
  return Float32Array.from({ length: size }, () => Math.random() - 0.5);
}

/** The dense operations that are measured on square matrices. */
export const SQUARE = ["gemm", "accumulateHessian", "cholesky", "triangularInverse"] as const;

export type SquareName = (typeof SQUARE)[number];

/** f32 operations of each on matrices of order n. */
export function squareOperations(name: SquareName, n: number): number {
  if (name === "gemm") return 2 * n ** 3;
  return name === "accumulateHessian" ? n ** 3 : n ** 3 / 3;
}

/**
 * The operations of `SQUARE` on matrices of order n, with operands for which each is defined. Those
 * that can be stopped on the way return promises.
 */
export async function squareCases(
  backend: Backend,
  n: number,
): Promise<Record<SquareName, () => unknown>> {
  const { ops } = backend;
  const [a, b] = [0, 1].map(() => backend.upload(randomValues(n * n), [n, n]));
  const [out, definite, inverse, factor] = [0, 1, 2, 3].map(() => backend.zeros([n, n]));
  ops.accumulateHessian(a, definite, 1);
  ops.mirrorUpper(definite);
  const diagonal = new Float32Array(n * n);
  for (let i = 0; i < n; i++) diagonal[i * (n + 1)] = n;
  ops.add(definite, backend.upload(diagonal, [n, n]));
  backend.copy(definite, factor);
  await ops.cholesky(factor);
  return {
    gemm: () => ops.gemm(a, b, out),
    accumulateHessian: () => ops.accumulateHessian(a, out, 1),
    cholesky: () => {
      backend.copy(definite, out);
      return ops.cholesky(out);
    },
    triangularInverse: () => ops.triangularInverse(factor, inverse),
  };
}
