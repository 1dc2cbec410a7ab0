import {
  openContenders,
  randomValues,
  SQUARE,
  squareCases,
  squareOperations,
} from "./contenders.js";
import { type BenchOptions, type Figure, medians, mediansAsync, type Turns } from "./measure.js";

/** Products of order n beside the peak, and the factorisations beside the product. */
async function squareFigures(n: number, turns: Turns): Promise<Figure[]> {
  const contenders = await openContenders();
  const cases: Record<string, () => unknown> = {};
  for (const { mode, backend, peak } of contenders) {
    cases[`peak ${mode}`] = peak.run;
    const operations = await squareCases(backend, n);
    for (const name of SQUARE) cases[`${name} ${mode}`] = operations[name];
  }
  const seconds = await mediansAsync(cases, { ...turns, gauge: contenders[0].peak.gauge });
  const figures: Figure[] = [];
  for (const { mode: by, backend, peak } of contenders) {
    const unit = "GFLOP/s";
    const limit = peak.operations / seconds[`peak ${by}`];
    figures.push({ name: `peak beside ${n}`, by, value: limit / 1e9, unit });
    const rate = (name: (typeof SQUARE)[number]) =>
      squareOperations(name, n) / seconds[`${name} ${by}`];
    for (const name of SQUARE) {
      const against = name === "gemm" ? "peak" : "gemm";
      const ratio = rate(name) / (name === "gemm" ? limit : rate("gemm"));
      figures.push({ name: `${name} ${n}`, by, value: rate(name) / 1e9, unit, ratio, against });
    }
    backend.dispose();
  }
  return figures;
}

/** A layer of n x n on few and on many rows, beside the peak. */
async function linearFigures(n: number, turns: Turns): Promise<Figure[]> {
  const contenders = await openContenders();
  const weights = randomValues(n * n);
  const layers = contenders.map(({ backend }) => backend.upload(weights, [n, n]));
  const figures: Figure[] = [];
  for (const tokens of [1, 4, 16, 64]) {
    const cases: Record<string, () => void> = {};
    const values = randomValues(tokens * n);
    const tensors = contenders.map(({ mode, backend, peak }, i) => {
      const [x, out] = [backend.upload(values, [tokens, n]), backend.zeros([tokens, n])];
      cases[`peak ${mode}`] = peak.run;
      cases[mode] = () => backend.ops.multiply(x, layers[i], out);
      return [x, out];
    });
    const seconds = medians(cases, { ...turns, gauge: contenders[0].peak.gauge });
    for (const { mode: by, peak } of contenders) {
      const rate = (2 * tokens * n * n) / seconds[by];
      const ratio = (rate * seconds[`peak ${by}`]) / peak.operations;
      const name = `linear ${tokens} x ${n} x ${n}`;
      figures.push({ name, by, value: rate / 1e9, unit: "GFLOP/s", ratio, against: "peak" });
    }
    for (const tensor of tensors.flat()) tensor.dispose();
  }
  for (const { backend } of contenders) backend.dispose();
  return figures;
}

/**
 * Dense products beside the register-only peak, and the factorisations beside the product of the
 * same order, with every kind of kernels that the runtime can take.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const n of quick ? [256, 512] : [512, 1024, 2048]) {
    const turns = { rounds: n < 2048 ? 21 : 9, seconds: 0.04 };
    figures.push(...(await squareFigures(n, quick ? { rounds: 3, seconds: 0.05 } : turns)));
  }
  for (const n of quick ? [512] : [1024, 4096]) {
    const turns = quick ? { rounds: 3, seconds: 0.05 } : { rounds: 15, seconds: 0.04 };
    figures.push(...(await linearFigures(n, turns)));
  }
  return figures;
}
