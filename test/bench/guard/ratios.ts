import type { Backend } from "../../../src/backend.js";
import { twoFourLeaf } from "../../../src/forms/leaf.js";
import {
  type Contender,
  randomValues,
  SQUARE,
  squareCases,
  squareOperations,
} from "../contenders.js";
import { sparseGptCases } from "../sparsegpt-cases.js";

/** Rates as shares of the register-only peak, by operation; 2:4 weights count as dense ones. */
export type Ratios = Readonly<Record<string, number>>;

/** By the runtime's name and major version, as in "Node 24", and by mode. */
export type RecordedRatios = Readonly<Record<string, Readonly<Record<string, Ratios>>>>;

/** A ratio may be so much below the recorded one. */
export const TOLERANCE = 0.25;

const ORDER = 512;
/** Of the 2:4 layers: with 4 MiB of dense weights, as in a small model. */
const WIDTH = 1024;
/** Rounds in which each case is called once. */
const ROUNDS = 15;
const WARM_UP = 3;

interface Case {
  readonly run: () => unknown;
  /** f32 operations. */
  readonly operations: number;
}

async function casesOf(backend: Backend): Promise<Record<string, Case>> {
  const { ops } = backend;
  const cases: Record<string, Case> = {};
  const square = await squareCases(backend, ORDER);
  for (const name of SQUARE) {
    cases[`${name} ${ORDER}`] = { run: square[name], operations: squareOperations(name, ORDER) };
  }
  const { prepare, layer } = sparseGptCases(backend, ORDER);
  await prepare();
  // Factor and inverse take n^3 / 3 each, and the sweep's updates n^3.
  const sparseGpt = () => layer({ n: 2, m: 4 });
  cases[`sparsegpt 2:4 ${ORDER}`] = { run: sparseGpt, operations: (5 / 3) * ORDER ** 3 };

  const weights = randomValues(WIDTH * WIDTH);
  for (let i = 0; i < weights.length; i += 4) weights.fill(0, i, i + 2);
  const dense = backend.upload(weights, [WIDTH, WIDTH]);
  const values = backend.zeros([WIDTH, WIDTH / 2]);
  const indices = backend.zeros([WIDTH, WIDTH / 8], "u8");
  await ops.packTwoFour(dense, values, indices);
  const sparse = await ops.prepare(twoFourLeaf(values, indices, [WIDTH, WIDTH]));
  for (const tokens of [1, 32]) {
    const x = backend.upload(randomValues(tokens * WIDTH), [tokens, WIDTH]);
    const out = backend.zeros([tokens, WIDTH]);
    const shape = `${tokens} x ${WIDTH} x ${WIDTH}`;
    const operations = 2 * tokens * WIDTH * WIDTH;
    cases[`linear ${shape}`] = { run: () => ops.multiply(x, dense, out), operations };
    const run = () => ops.multiply(x, sparse, out);
    cases[`twoFourLinear ${shape}`] = { run, operations };
  }
  return cases;
}

/**
 * Measures the ratios of one mode's kernels: every case and the peak are called by turns, and the
 * fastest call of each counts, as whatever else the machine does only makes calls slower.
 */
export async function measureRatios({ backend, peak }: Contender): Promise<Ratios> {
  const cases = await casesOf(backend);
  const steps: [string, () => unknown][] = [
    ["peak", peak.run],
    ...Object.entries(cases).map(([name, { run }]): [string, () => unknown] => [name, run]),
  ];
  const fastest: Record<string, number> = {};
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    for (const [name, step] of steps) {
      const started = performance.now();
      const running = step();
      if (running instanceof Promise) await running;
      const seconds = (performance.now() - started) / 1000;
      if (round >= 0) fastest[name] = Math.min(fastest[name] ?? Infinity, seconds);
    }
  }
  const limit = peak.operations / fastest.peak;
  const ratios = Object.entries(cases).map(([name, { operations }]) => [
    name,
    operations / fastest[name] / limit,
  ]);
  return Object.fromEntries(ratios);
}

/** The higher of the two, ratio by ratio. */
export function best(a: Ratios, b: Ratios): Ratios {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return Object.fromEntries([...names].map((name) => [name, Math.max(a[name] ?? 0, b[name] ?? 0)]));
}

/** A sentence for each ratio that fell too far below the recorded one, or is not measured any more. */
export function fallen(recorded: Ratios, measured: Ratios): string[] {
  return Object.entries(recorded).flatMap(([name, before]) => {
    const now = measured[name];
    if (now === undefined) return [`${name} is recorded, but not measured: record anew`];
    if (now >= before * (1 - TOLERANCE)) return [];
    const share = Math.round(100 * (1 - now / before));
    return [`${name} is ${now.toFixed(3)}, ${share}% below the recorded ${before.toFixed(3)}`];
  });
}
