import type { Backend } from "../../../src/backend.js";
import { median } from "../figures.js";

export interface Clock {
  /** Least seconds of one measurement. */
  readonly seconds: number;
  readonly rounds: number;
}

/** Calls that are queued at most before an answer is waited for. */
const MOST_CALLS = 2048;
/** How much longer than the wait for an answer a measurement is, at least. */
const LATENCIES = 20;

/**
 * Median seconds of one call of each function on a device that works through a queue: many calls,
 * then the wait for all of them, shared out. The functions take turns, as in `medians`.
 */
export async function deviceSeconds<Name extends string>(
  backend: Backend,
  cases: Readonly<Record<Name, () => void>>,
  { seconds, rounds }: Clock,
): Promise<Record<Name, number>> {
  const probe = backend.zeros([1]);
  const time = async (call: () => void, calls: number) => {
    const start = performance.now();
    for (let i = 0; i < calls; i++) call();
    await backend.read(probe);
    return (performance.now() - start) / 1000;
  };
  const nothing = () => {};
  await time(nothing, 0);
  const least = Math.max(seconds, LATENCIES * (await time(nothing, 0)));
  const names = Object.keys(cases) as Name[];
  const counts = new Map<Name, number>();
  for (const name of names) {
    // The first call compiles its pipeline.
    await time(cases[name], 1);
    let calls = 1;
    for (let took = await time(cases[name], 1); took < least && calls < MOST_CALLS; ) {
      calls = Math.min(MOST_CALLS, Math.ceil(calls * Math.max(2, (1.1 * least) / took)));
      took = await time(cases[name], calls);
    }
    counts.set(name, calls);
  }
  const samples = new Map(names.map((name) => [name, [] as number[]]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const calls = counts.get(name)!;
      samples.get(name)?.push((await time(cases[name], calls)) / calls);
    }
  }
  probe.dispose();
  return Object.fromEntries(names.map((name) => [name, median(samples.get(name)!)])) as Record<
    Name,
    number
  >;
}
