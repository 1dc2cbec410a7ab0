import Benchmark from "benchmark";

export { type Figure, table } from "./figures.js";

export interface BenchOptions {
  /** Smaller problems and fewer samples. @default false */
  readonly quick?: boolean;
}

/** How long cases are measured. */
export interface Turns {
  /** Turns of each case. */
  readonly rounds: number;
  /** Least time of one turn. */
  readonly seconds: number;
}

/**
 * Median seconds of one call of each function. The functions take turns, so that a machine whose
 * speed drifts slows all of them alike.
 */
export function medians<Name extends string>(
  cases: Readonly<Record<Name, () => void>>,
  { rounds, seconds }: Turns,
): Record<Name, number> {
  const names = Object.keys(cases) as Name[];
  const samples = new Map(names.map((name) => [name, [] as number[]]));
  // The first call of a kernel runs code that is not optimised yet.
  for (const name of names) cases[name]();
  for (let round = 0; round < rounds; round++) {
    for (const name of names) samples.get(name)?.push(...sampleOf(name, cases[name], seconds));
  }
  return mediansOf(samples);
}

/**
 * Like `medians`, for functions of which some return promises: their seconds last until those are
 * settled. The others are measured as `medians` does.
 */
export async function mediansAsync<Name extends string>(
  cases: Readonly<Record<Name, () => unknown>>,
  { rounds, seconds }: Turns,
): Promise<Record<Name, number>> {
  const names = Object.keys(cases) as Name[];
  const samples = new Map(names.map((name) => [name, [] as number[]]));
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
      samples.get(name)?.push(...sample);
    }
  }
  return mediansOf(samples);
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

function mediansOf<Name extends string>(samples: ReadonlyMap<Name, number[]>) {
  const entries = [...samples].map(([name, values]) => [name, median(values)]);
  return Object.fromEntries(entries) as Record<Name, number>;
}

/** The middle one of the values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
