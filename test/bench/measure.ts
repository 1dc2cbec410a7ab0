import Benchmark from "benchmark";

export { type Figure, table } from "./figures.js";

export interface BenchOptions {
  /** Smaller problems and fewer samples. @default false */
  readonly quick?: boolean;
}

/**
 * Median seconds of one call of each function. The functions take turns, so that a machine whose
 * speed drifts slows all of them alike.
 *
 * @param rounds turns of each function
 * @param seconds least time of one turn
 */
export function medians<Name extends string>(
  cases: Readonly<Record<Name, () => void>>,
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
): Record<Name, number> {
  const names = Object.keys(cases) as Name[];
  const samples = new Map(names.map((name) => [name, [] as number[]]));
  // The first call of a kernel runs code that is not optimised yet.
  for (const name of names) cases[name]();
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const options = { maxTime: seconds, minSamples: 1, initCount: 1, minTime: seconds / 4 };
      const bench = new Benchmark(name, cases[name], options).run({ async: false });
      if (bench.error) throw bench.error;
      samples.get(name)?.push(...bench.stats.sample);
    }
  }
  return Object.fromEntries(names.map((name) => [name, median(samples.get(name) ?? [])])) as Record<
    Name,
    number
  >;
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
