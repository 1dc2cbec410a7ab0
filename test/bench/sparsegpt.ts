import { openContenders, randomValues } from "./contenders.js";
import { type BenchOptions, type Figure, mediansAsync } from "./measure.js";
import { sparseGptCases } from "./sparsegpt-cases.js";

/**
 * SparseGPT on one square layer with its Hessian given, on one thread: factorise, invert, sweep; and
 * the choices of masks alone.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const n = quick ? 256 : 1024;
  const contenders = await openContenders();
  const cases: Record<string, () => unknown> = {};
  for (const { mode, backend } of contenders) {
    const { ops } = backend;
    const { prepare, sweep, layer } = sparseGptCases(backend, n);
    const weight = backend.upload(randomValues(n * n), [n, n]);
    const [scores, mask] = [backend.zeros([n, n]), backend.zeros([n, n], "u8")];
    ops.scaledMagnitude(weight, scores, undefined, undefined);
    await prepare();
    const own: Record<string, () => unknown> = {
      "sparsegpt 2:4": () => layer({ n: 2, m: 4 }),
      "sweep 2:4": () => sweep({ n: 2, m: 4 }),
      "sweep 4:8": () => sweep({ n: 4, m: 8 }),
      "sweep 50%": () => sweep({ ratio: 0.5 }),
      "selectNofM 2:4": () => ops.selectNofM(scores, mask, 2, 4),
      "selectPerRow 50%": () => ops.selectPerRow(scores, mask, n / 2),
      "selectPerMatrix 50%": () => ops.selectPerMatrix(scores, mask, (n * n) / 2),
      applyMask: () => ops.applyMask(weight, mask),
    };
    for (const [name, step] of Object.entries(own)) cases[`${name} ${n}x${n}, ${mode}`] = step;
  }
  const { gauge } = contenders[0].peak;
  const seconds = await mediansAsync(cases, {
    ...(quick ? { rounds: 2, seconds: 0.03 } : { rounds: 11, seconds: 0.05 }),
    gauge,
  });
  for (const { backend } of contenders) backend.dispose();
  return Object.entries(seconds).map(([key, value]) => {
    const [name, by] = key.split(", ");
    return { name, by, value, unit: "s" };
  });
}
