import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import { blocksLeaf } from "../../src/forms/leaf.js";
import {
  availableModes,
  randomValues,
  type SQUARE,
  squareCases,
  squareOperations,
} from "./contenders.js";
import { type Figure, median } from "./figures.js";
import { type BenchOptions, mediansAsync, type Turns } from "./measure.js";
import { openPeak } from "./peak.js";
import { sparseGptCases } from "./sparsegpt-cases.js";
import { sparseWeights } from "./two-four-cases.js";

/** Threads that are compared with one. */
const THREADS = 2;

/** Sides of ARMOR's blocks. */
const BLOCK = 32;

const TWO_FOUR = { n: 2, m: 4 };

/** The same functions on one thread and on several. */
interface Pair {
  readonly one: Readonly<Record<string, () => unknown>>;
  readonly several: Readonly<Record<string, () => unknown>>;
}

/** Opens the fastest kernels on one thread and on several, for as long as `use` takes. */
async function withBoth<T>(use: (one: Backend, several: Backend) => Promise<T>): Promise<T> {
  const simd = availableModes().at(-1);
  const one = await openWasm({ simd, threads: 1 });
  const several = await openWasm({ simd, threads: THREADS });
  try {
    return await use(one, several);
  } finally {
    one.dispose();
    several.dispose();
  }
}

/** The seconds of both, by turns, and how many times as fast several threads are. */
async function compare(
  { one, several }: Pair,
  turns: Turns,
): Promise<Map<string, readonly [number, number]>> {
  const cases: Record<string, () => unknown> = {};
  for (const name of Object.keys(one)) {
    cases[`1 ${name}`] = one[name];
    cases[`${THREADS} ${name}`] = several[name];
  }
  const { gauge } = await openPeak();
  const seconds = await mediansAsync(cases, { ...turns, gauge });
  return new Map(
    Object.keys(one).map((name) => [name, [seconds[`1 ${name}`], seconds[`${THREADS} ${name}`]]]),
  );
}

function figure(name: string, [one, several]: readonly [number, number]): Figure {
  const against = "1 thread's speed";
  const by = `${THREADS} threads`;
  return { name, by, value: several * 1e3, unit: "ms", ratio: one / several, against };
}

async function squareFigures(n: number, turns: Turns): Promise<Figure[]> {
  return withBoth(async (first, second) => {
    const pair = { one: await squareCases(first, n), several: await squareCases(second, n) };
    return [...(await compare(pair, turns))].map(([name, seconds]) => {
      const rate = squareOperations(name as (typeof SQUARE)[number], n) / seconds[1] / 1e9;
      return { ...figure(`${name} ${n}`, seconds), value: rate, unit: "GFLOP/s" };
    });
  });
}

/** Layers of one row and of several: dense, at 2:4, and as ARMOR leaves them. */
async function linearFigures(n: number, turns: Turns): Promise<Figure[]> {
  return withBoth(async (...backends) => {
    const [one, several] = await Promise.all(
      backends.map(async (backend) => {
        const { ops } = backend;
        const [{ dense, sparse, leaf }] = await sparseWeights(backend, n, "f32", 1);
        const [left, right] = [0, 1].map(() =>
          backend.upload(randomValues(n * BLOCK), [n / BLOCK, BLOCK, BLOCK]),
        );
        const factors = [blocksLeaf(left), leaf, blocksLeaf(right)];
        const product = await ops.prepare({ kind: "product", factors });
        const cases: Record<string, () => unknown> = {};
        for (const tokens of [1, 16]) {
          const x = backend.upload(randomValues(tokens * n), [tokens, n]);
          const out = backend.zeros([tokens, n]);
          const name = `${tokens} x ${n} x ${n}`;
          cases[`linear ${name}`] = () => ops.multiply(x, dense, out);
          cases[`2:4 linear ${name}`] = () => ops.multiply(x, sparse, out);
          cases[`sandwich ${name}`] = () => ops.multiply(x, product, out);
        }
        return cases;
      }),
    );
    return [...(await compare({ one, several }, turns))].map(([name, both]) => figure(name, both));
  });
}

/** One iteration of ARMOR's optimisation of a random layer. */
async function armorFigures(n: number, turns: Turns): Promise<Figure[]> {
  return withBoth(async (...backends) => {
    const values = randomValues(n * n);
    const opened = backends.map(async (backend) => {
      const { ops } = backend;
      const target = backend.upload(values, [n, n]);
      const importance = backend.upload(values.slice(0, n).map(Math.abs), [n]);
      const mask = backend.zeros([n, n], "u8");
      ops.selectNofM(target, mask, 2, 4);
      const sizes = { blockRows: BLOCK, blockCols: BLOCK };
      const state = await ops.armorOpen(target, importance, mask, sizes);
      const draws = values.slice(0, state.pairs).map(Math.abs);
      const choices = backend.upload(draws, [1, state.pairs]);
      return {
        [`armor iteration ${n}x${n}`]: () =>
          ops.armorAdvance(state, choices, { learningRate: 1e-4 }),
      };
    });
    const [one, several] = await Promise.all(opened);
    return [...(await compare({ one, several }, turns))].map(([name, both]) => figure(name, both));
  });
}

/** A layer of 4096 takes seconds: it runs once on each, after a small one that warms the code up. */
async function sparseGptFigures(n: number, rounds: number): Promise<Figure[]> {
  return withBoth(async (...backends) => {
    const layers = backends.map((backend) => sparseGptCases(backend, n));
    for (const backend of backends) await sparseGptCases(backend, 256).layer(TWO_FOUR);
    const times: number[][] = [[], []];
    for (let round = 0; round < rounds; round++) {
      for (const [i, { layer }] of layers.entries()) {
        const started = performance.now();
        await layer(TWO_FOUR);
        times[i].push((performance.now() - started) / 1000);
      }
    }
    const [one, several] = times.map(median);
    const common = { ...figure(`sparsegpt 2:4 ${n}x${n}`, [one, several]), unit: "s" };
    const alone: Figure = { name: common.name, by: "1 thread", value: one, unit: "s" };
    return [alone, { ...common, value: several }];
  });
}

/** How much faster two threads are than one, with the fastest kernels that the runtime can take. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const n of quick ? [256, 512] : [512, 1024, 2048]) {
    const turns = { rounds: n < 2048 ? 21 : 9, seconds: 0.05 };
    figures.push(...(await squareFigures(n, quick ? { rounds: 3, seconds: 0.05 } : turns)));
  }
  const turns = quick ? { rounds: 3, seconds: 0.05 } : { rounds: 21, seconds: 0.05 };
  figures.push(...(await linearFigures(quick ? 1024 : 4096, turns)));
  figures.push(...(await armorFigures(quick ? 256 : 1024, turns)));
  figures.push(...(await sparseGptFigures(quick ? 256 : 1024, quick ? 3 : 5)));
  if (!quick) figures.push(...(await sparseGptFigures(4096, 1)));
  return figures;
}
