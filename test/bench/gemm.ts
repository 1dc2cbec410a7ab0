import { openWasm } from "../../src/backends/wasm.js";
import { type BenchOptions, type Figure, medians } from "./measure.js";
import { openPeak } from "./peak.js";

function random(size: number): Float32Array {
  return Float32Array.from({ length: size }, () => Math.random() - 0.5);
}

/**
 * Dense products beside the register-only peak, and the factorisations beside the product of the
 * same order.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const peak = await openPeak();
  const turns = quick ? { rounds: 3, seconds: 0.05 } : { rounds: 7, seconds: 0.3 };
  const figures: Figure[] = [];
  for (const n of quick ? [256, 512] : [512, 1024, 2048]) {
    const backend = await openWasm();
    const [a, b] = [0, 1].map(() => backend.upload(random(n * n), [n, n]));
    const [out, definite, inverse] = [0, 1, 2].map(() => backend.zeros([n, n]));
    backend.ops.accumulateHessian(a, definite, 1);
    backend.ops.mirrorUpper(definite);
    const diagonal = new Float32Array(n * n);
    for (let i = 0; i < n; i++) diagonal[i * (n + 1)] = n;
    backend.ops.add(definite, backend.upload(diagonal, [n, n]));
    const factor = backend.zeros([n, n]);
    backend.copy(definite, factor);
    await backend.ops.cholesky(factor);

    const seconds = medians(
      {
        peak: peak.run,
        gemm: () => backend.ops.gemm(a, b, out),
        syrk: () => backend.ops.accumulateHessian(a, out, 1),
        // Its promise is settled when it returns: the kernel itself is synchronous.
        cholesky: () => {
          backend.copy(definite, out);
          void backend.ops.cholesky(out);
        },
        inverse: () => backend.ops.triangularInverse(factor, inverse),
      },
      turns,
    );
    const limit = peak.operations / seconds.peak;
    const product = (2 * n ** 3) / seconds.gemm;
    const rate = (name: string, value: number, ratio: number, against: string) =>
      figures.push({ name: `${name} ${n}`, value: value / 1e9, unit: "GFLOP/s", ratio, against });
    figures.push({ name: `peak beside ${n}`, value: limit / 1e9, unit: "GFLOP/s" });
    rate("gemm", product, product / limit, "peak");
    const syrk = n ** 3 / seconds.syrk;
    rate("accumulateHessian", syrk, syrk / product, "gemm");
    const cholesky = n ** 3 / 3 / seconds.cholesky;
    rate("cholesky", cholesky, cholesky / product, "gemm");
    const inverse3 = n ** 3 / 3 / seconds.inverse;
    rate("triangularInverse", inverse3, inverse3 / product, "gemm");
    backend.dispose();
  }
  for (const n of quick ? [512] : [1024, 4096]) {
    const backend = await openWasm();
    const weight = backend.upload(random(n * n), [n, n]);
    for (const tokens of [1, 4, 16, 64]) {
      const x = backend.upload(random(tokens * n), [tokens, n]);
      const out = backend.zeros([tokens, n]);
      const linear = () => backend.ops.linear(x, weight, out);
      const seconds = medians({ peak: peak.run, linear }, turns);
      const rate = (2 * tokens * n * n) / seconds.linear;
      const ratio = (rate * seconds.peak) / peak.operations;
      const name = `linear ${tokens} x ${n} x ${n}`;
      figures.push({ name, value: rate / 1e9, unit: "GFLOP/s", ratio, against: "peak" });
    }
    backend.dispose();
  }
  return figures;
}
