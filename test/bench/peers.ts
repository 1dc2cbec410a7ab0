import type { Backend } from "../../src/backend.js";
import { openContenders, randomValues } from "./contenders.js";
import { type BenchOptions, type Figure, mediansAsync } from "./measure.js";
import { openPeers, type Problem } from "./peers/open.js";

/** Our product of the same operands: GEMM, or, of one row, a linear layer of the weight's rows. */
function ownProduct(backend: Backend, { m, n, k, x, w }: Problem): () => void {
  const { ops } = backend;
  const [a, b] = [backend.upload(x, [m, k]), backend.upload(w, [k, n])];
  const out = backend.zeros([m, n]);
  if (m > 1) return () => ops.gemm(a, b, out);
  const weight = backend.zeros([n, k]);
  ops.transpose(b, weight);
  return () => ops.multiply(a, weight, out);
}

/** Every contender's seconds for one product, all of them by turns, and the peaks' rates. */
async function measureProduct(problem: Problem, quick: boolean): Promise<Figure[]> {
  const { m, n, k } = problem;
  const cases: Record<string, () => unknown> = {};
  const closing: (() => unknown)[] = [];
  const contenders = await openContenders();
  for (const { mode, backend, peak } of contenders) {
    cases[`peak ${mode}`] = peak.run;
    cases[mode] = ownProduct(backend, problem);
    closing.push(() => backend.dispose());
  }
  const peers = await openPeers();
  for (const { name, prepare } of peers) {
    const product = await prepare(problem);
    cases[name] = product.run;
    closing.push(() => product.close());
  }
  const seconds = await mediansAsync(cases, {
    rounds: quick ? 3 : n < 2048 || m === 1 ? 21 : 9,
    seconds: 0.04,
    gauge: contenders[0].peak.gauge,
  });
  for (const close of closing) await close();

  const name = m === 1 ? `gemv 1 x ${k} x ${n}` : `gemm ${n}`;
  const figures: Figure[] = [];
  for (const { mode, peak } of contenders) {
    const limit = peak.operations / seconds[`peak ${mode}`];
    const rate = (2 * m * n * k) / seconds[mode];
    const common = { by: mode, unit: "GFLOP/s" };
    figures.push({ name: `peak beside ${name}`, ...common, value: limit / 1e9 });
    const value = rate / 1e9;
    figures.push({ name, ...common, value, ratio: rate / limit, against: "peak" });
    for (const peer of peers) {
      const ratio = seconds[peer.name] / seconds[mode];
      const against = `${peer.name}'s rate`;
      figures.push({ name: `${name} beside ${peer.name}`, ...common, value, ratio, against });
    }
  }
  for (const { name: by } of peers) {
    const value = (2 * m * n * k) / seconds[by] / 1e9;
    figures.push({ name, by, value, unit: "GFLOP/s" });
  }
  return figures;
}

/**
 * Products beside onnxruntime-web and tfjs on one thread: square GEMMs, and one row times 4096 x
 * 4096. The operands stay where each program holds them, but onnxruntime-web copies X in and Y out
 * at each call, as it does for all that use it.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const n of quick ? [256, 512] : [128, 256, 512, 1024, 2048]) {
    const problem = { m: n, n, k: n, x: randomValues(n * n), w: randomValues(n * n) };
    figures.push(...(await measureProduct(problem, quick)));
  }
  const n = quick ? 1024 : 4096;
  const problem = { m: 1, n, k: n, x: randomValues(n), w: randomValues(n * n) };
  return [...figures, ...(await measureProduct(problem, quick))];
}
