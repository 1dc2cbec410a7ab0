import type { SparseGptSweepOptions } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import { type BenchOptions, type Figure, medians } from "./measure.js";

/**
 * SparseGPT on one square layer with its Hessian given: factorise, invert, sweep. The inverse of
 * the reversed Hessian's factor, reversed, is the upper factor of the inverse Hessian.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const n = quick ? 256 : 1024;
  const backend = await openWasm();
  const samples = Float32Array.from({ length: 2 * n * n }, () => Math.random() - 0.5);
  const hessian = backend.zeros([n, n]);
  backend.ops.accumulateHessian(backend.upload(samples, [2 * n, n]), hessian, 1);
  backend.ops.mirrorUpper(hessian);
  const weight = backend.upload(samples.slice(0, n * n), [n, n]);
  const [w, factor, u] = [0, 1, 2].map(() => backend.zeros([n, n]));
  const [scores, mask] = [backend.zeros([n, n]), backend.zeros([n, n], "u8")];
  backend.ops.scaledMagnitude(weight, scores, undefined, undefined);

  // The promises of this backend are settled when they return.
  const prepare = () => {
    backend.copy(hessian, factor);
    backend.ops.reverse(factor);
    void backend.ops.cholesky(factor);
    backend.ops.triangularInverse(factor, u);
    backend.ops.reverse(u);
  };
  const sweep = (pattern: SparseGptSweepOptions["pattern"]) => () => {
    backend.copy(weight, w);
    void backend.ops.sparsegptSweep(w, u, mask, { pattern, blockSize: 128 });
  };
  const twoFour = sweep({ n: 2, m: 4 });
  prepare();
  const seconds = medians(
    {
      "sparsegpt 2:4": () => {
        prepare();
        twoFour();
      },
      "sweep 2:4": twoFour,
      "sweep 4:8": sweep({ n: 4, m: 8 }),
      "sweep 50%": sweep({ ratio: 0.5 }),
      "selectNofM 2:4": () => backend.ops.selectNofM(scores, mask, 2, 4),
      "selectPerRow 50%": () => backend.ops.selectPerRow(scores, mask, n / 2),
      "selectPerMatrix 50%": () => backend.ops.selectPerMatrix(scores, mask, (n * n) / 2),
      applyMask: () => backend.ops.applyMask(w, mask),
    },
    quick ? { rounds: 2, seconds: 0.03 } : { rounds: 5, seconds: 0.3 },
  );
  backend.dispose();
  return Object.entries(seconds).map(([name, value]) => ({
    name: `${name} ${n}x${n}`,
    value,
    unit: "s",
  }));
}
