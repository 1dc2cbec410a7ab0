import Benchmark from "benchmark";

export { type Figure, table } from "./figures.js";

export interface BenchOptions {
  /** Smaller problems and fewer samples. @default false */
  readonly quick?: boolean;
}

/** How long cases are measured. */
export interface Turns<Name extends string = string> {
  /** Turns of each case. */
  readonly rounds: number;
  /** Least time of one turn. */
  readonly seconds: number;
  /**
   * Cases whose time tells what the machine gives: rounds in which one of them takes over a quarter
   * longer than in its best round are left out, but for the best third of all rounds.
   *
   * @default none
   */
  readonly steady?: readonly Name[];
}

/** How much longer a steady case may take in a round that counts. */
const UNSTEADY = 1.25;

/** Seconds of single calls: of each case, in each round. */
type Samples<Name extends string> = Map<Name, number[][]>;

/**
 * Median seconds of one call of each function. The functions take turns, so that a machine whose
 * speed drifts slows all of them alike.
 */
export function medians<Name extends string>(
  cases: Readonly<Record<Name, () => void>>,
  turns: Turns<Name>,
): Record<Name, number> {
  const names = Object.keys(cases) as Name[];
  const samples: Samples<Name> = new Map(names.map((name) => [name, []]));
  // The first call of a kernel runs code that is not optimised yet.
  for (const name of names) cases[name]();
  for (let round = 0; round < turns.rounds; round++) {
    for (const name of names) {
      samples.get(name)?.push(sampleOf(name, cases[name], turns.seconds));
    }
  }
  return mediansOf(samples, turns);
}

/**
 * Like `medians`, for functions of which some return promises: their seconds last until those are
 * settled. The others are measured as `medians` does.
 */
export async function mediansAsync<Name extends string>(
  cases: Readonly<Record<Name, () => unknown>>,
  turns: Turns<Name>,
): Promise<Record<Name, number>> {
  const { rounds, seconds } = turns;
  const names = Object.keys(cases) as Name[];
  const samples: Samples<Name> = new Map(names.map((name) => [name, []]));
  const calls = new Map<Name, number>();
  for (const name of names) {
    const first = cases[name]();
    if (!isPromise(first)) continue;
    await first;
    const started = performance.now();
    await cases[name]();
    const once = (performance.now() - started) / 1000;
    calls.set(name, Math.max(1, Math.ceil(seconds / 4 / once)));
  }
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const batch = calls.get(name);
      const sample = batch
        ? await sampleOfAsync(name, cases[name] as () => Promise<unknown>, seconds, batch)
        : sampleOf(name, cases[name], seconds);
      samples.get(name)?.push(sample);
    }
  }
  return mediansOf(samples, turns);
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as Promise<unknown> | undefined)?.then === "function";
}

/** Seconds of one call, once or more often, within one turn. */
function sampleOf(name: string, run: () => unknown, seconds: number): number[] {
  const options = { maxTime: seconds, minSamples: 1, initCount: 1, minTime: seconds / 4 };
  const bench = new Benchmark(name, run, options).run({ async: false });
  if (bench.error) throw bench.error;
  return bench.stats.sample;
}

/**
 * Seconds of one call, each the mean of `batch`. A deferred benchmark compiles its loop anew for
 * every call, within the time that it measures; a batch is one such call.
 */
function sampleOfAsync(
  name: string,
  run: () => Promise<unknown>,
  seconds: number,
  batch: number,
): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const fn = async (deferred: { resolve(): void }) => {
      try {
        for (let i = 0; i < batch; i++) await run();
      } catch (error) {
        reject(error);
        return;
      }
      deferred.resolve();
    };
    const options = { defer: true, minSamples: 1, initCount: 1, minTime: 1e-9, maxTime: seconds };
    const bench: Benchmark = new Benchmark(name, fn, {
      ...options,
      onComplete: () => {
        if (bench.error) reject(bench.error);
        else resolve(bench.stats.sample.map((period) => period / batch));
      },
    });
    bench.run({ async: true });
  });
}

function mediansOf<Name extends string>(
  samples: Samples<Name>,
  { rounds, steady = [] }: Turns<Name>,
): Record<Name, number> {
  const counted = steadyRounds(
    steady.map((name) => (samples.get(name) ?? []).map(median)),
    rounds,
  );
  const entries = [...samples].map(([name, byRound]) => [
    name,
    median(counted.flatMap((round) => byRound[round])),
  ]);
  return Object.fromEntries(entries) as Record<Name, number>;
}

/**
 * The rounds that count.
 *
 * @param times seconds of each steady case in each round
 */
export function steadyRounds(times: readonly (readonly number[])[], rounds: number): number[] {
  const slowness = Array.from({ length: rounds }, (_, round) =>
    Math.max(1, ...times.map((all) => all[round] / Math.min(...all))),
  );
  const best = slowness.map((slow, round) => ({ slow, round }));
  best.sort((a, b) => a.slow - b.slow || a.round - b.round);
  return best
    .filter(({ slow }, i) => slow <= UNSTEADY || i < rounds / 3)
    .map(({ round }) => round)
    .sort((a, b) => a - b);
}

/** The middle one of the values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
