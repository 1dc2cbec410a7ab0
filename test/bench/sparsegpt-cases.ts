import type { Backend } from "../../src/backend.js";
import type { ColumnSweepOptions } from "../../src/backends/operations/column-sweep.js";
import { randomValues } from "./contenders.js";

/** SparseGPT's steps on one n x n layer with its Hessian given, as functions. */
export interface SparseGptCases {
  /** Factorises the Hessian and inverts it. */
  prepare(): Promise<void>;
  /** Prunes and updates the columns; `prepare` ran before. */
  sweep(pattern: ColumnSweepOptions["pattern"]): Promise<unknown>;
  /** Both, as a whole layer takes them. */
  layer(pattern: ColumnSweepOptions["pattern"]): Promise<unknown>;
}

/**
 * A layer of random weights. The inverse of the reversed Hessian's factor, reversed, is the upper
 * factor of the inverse Hessian.
 */
export function sparseGptCases(backend: Backend, n: number): SparseGptCases {
  const { ops } = backend;
  const samples = randomValues((n * n) / 2);
  const diagonal = new Float32Array(n * n);
  // What damping adds; so few samples leave the Hessian singular.
  for (let i = 0; i < n; i++) diagonal[i * (n + 1)] = n / 64;
  const hessian = backend.upload(diagonal, [n, n]);
  ops.accumulateHessian(backend.upload(samples, [n / 2, n]), hessian, 1);
  ops.mirrorUpper(hessian);
  const weight = backend.upload(randomValues(n * n), [n, n]);
  const [w, factor, u] = [0, 1, 2].map(() => backend.zeros([n, n]));
  const mask = backend.zeros([n, n], "u8");

  const prepare = async () => {
    backend.copy(hessian, factor);
    ops.reverse(factor);
    await ops.cholesky(factor);
    await ops.triangularInverse(factor, u);
    ops.reverse(u);
  };
  const sweep = (pattern: ColumnSweepOptions["pattern"]) => {
    backend.copy(weight, w);
    return ops.columnSweep(w, u, mask, { pattern, blockSize: 128 });
  };
  return {
    prepare,
    sweep,
    async layer(pattern) {
      await prepare();
      return sweep(pattern);
    },
  };
}
