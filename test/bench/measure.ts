import Benchmark from "benchmark";
import { median } from "./figures.js";

export type { Figure } from "./figures.js";

export interface BenchOptions {
  /** Smaller problems and fewer samples. @default false */
  readonly quick?: boolean;
}

/** How long cases are measured. */
export interface Turns {
  /** Turns of each case; with a gauge up to three times as many, until a third are undisturbed (see `MOST`). */
  readonly rounds: number;
  /** Least time of one turn. */
  readonly seconds: number;
  /**
   * A short piece of work that is as fast as the machine lets it be. It is timed before and after
   * every turn; turns beside which it was slow count only where there is hardly another.
   *
   * @default every turn counts
   */
  readonly gauge?: () => void;
}

/** How much longer than at its best the gauge may take beside a turn that counts. */
const DISTURBED = 1.15;
/**
 * Rounds at most, as a multiple of those asked for: the further ones are for cases that were disturbed.
 * On a machine that others share most of the time PENJING_BENCH_PATIENCE=20 gives better figures, later.
 */
const MOST = Number(process.env.PENJING_BENCH_PATIENCE ?? 3);
/** Seconds of each gauge where it was fastest, in any measurement of this process. */
const BEST = new WeakMap<() => void, number>();

/** What was measured in one turn of a case. */
export interface Turn {
  /** Seconds of single calls. */
  readonly seconds: readonly number[];
  /** Seconds of the gauge, the longer of before and after; 0 without one. */
  readonly gauge: number;
}

type TurnsOf<Name extends string> = Record<Name, Turn[]>;

/**
 * Median seconds of one call of each function. The functions take turns, so that a machine whose
 * speed drifts slows all of them alike.
 */
export function medians<Name extends string>(
  cases: Readonly<Record<Name, () => void>>,
  turns: Turns,
): Record<Name, number> {
  const names = Object.keys(cases) as Name[];
  const measured = noTurns(names);
  // The first call of a kernel runs code that is not optimised yet.
  for (const name of names) cases[name]();
  for (let round = 0; round < MOST * turns.rounds; round++) {
    for (const name of lacking(measured, turns)) {
      const before = secondsOf(turns.gauge);
      const seconds = sampleOf(name, cases[name], turns.seconds);
      measured[name].push({ seconds, gauge: Math.max(before, secondsOf(turns.gauge)) });
    }
  }
  return mediansOf(measured, turns);
}

/**
 * Like `medians`, for functions of which some return promises: their seconds last until those are
 * settled. The others are measured as `medians` does.
 */
export async function mediansAsync<Name extends string>(
  cases: Readonly<Record<Name, () => unknown>>,
  turns: Turns,
): Promise<Record<Name, number>> {
  const { rounds, gauge } = turns;
  const names = Object.keys(cases) as Name[];
  const measured = noTurns(names);
  const calls = new Map<Name, number>();
  for (const name of names) {
    const first = cases[name]();
    if (!isPromise(first)) continue;
    await first;
    const started = performance.now();
    await cases[name]();
    const once = (performance.now() - started) / 1000;
    calls.set(name, Math.max(1, Math.ceil(turns.seconds / 4 / once)));
  }
  for (let round = 0; round < MOST * rounds; round++) {
    for (const name of lacking(measured, turns)) {
      const batch = calls.get(name);
      const before = secondsOf(gauge);
      const seconds = batch
        ? await sampleOfAsync(name, cases[name] as () => Promise<unknown>, turns.seconds, batch)
        : sampleOf(name, cases[name], turns.seconds);
      measured[name].push({ seconds, gauge: Math.max(before, secondsOf(gauge)) });
    }
  }
  return mediansOf(measured, turns);
}

function noTurns<Name extends string>(names: readonly Name[]): TurnsOf<Name> {
  return Object.fromEntries(names.map((name) => [name, []])) as unknown as TurnsOf<Name>;
}

function secondsOf(gauge: (() => void) | undefined): number {
  if (!gauge) return 0;
  const started = performance.now();
  gauge();
  const seconds = (performance.now() - started) / 1000;
  BEST.set(gauge, Math.min(seconds, bestOf(gauge)));
  return seconds;
}

/** Seconds of the gauge where it was fastest; without a gauge no turn is disturbed. */
function bestOf(gauge: (() => void) | undefined): number {
  return (gauge && BEST.get(gauge)) ?? Number.POSITIVE_INFINITY;
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

/** The cases that have had fewer turns than `rounds`, or of those fewer than a third undisturbed. */
function lacking<Name extends string>(measured: TurnsOf<Name>, { rounds, gauge }: Turns): Name[] {
  const best = bestOf(gauge);
  const isCalm = (turn: Turn) => turn.gauge <= DISTURBED * best;
  const names = Object.keys(measured) as Name[];
  return names.filter(
    (name) => measured[name].length < rounds || 3 * measured[name].filter(isCalm).length < rounds,
  );
}

function mediansOf<Name extends string>(
  measured: TurnsOf<Name>,
  { gauge }: Turns,
): Record<Name, number> {
  const cases = Object.entries<Turn[]>(measured);
  const best = bestOf(gauge);
  const entries = cases.map(([name, turns]) => [
    name,
    median(undisturbed(turns, best).flatMap(({ seconds }) => seconds)),
  ]);
  return Object.fromEntries(entries) as Record<Name, number>;
}

/**
 * The turns that count, from the least to the most disturbed: those beside which the gauge was about
 * as fast as at its best, and an eighth of all in any case.
 *
 * @param best seconds of the gauge where it was fastest
 */
export function undisturbed(turns: readonly Turn[], best: number): Turn[] {
  return [...turns]
    .sort((a, b) => a.gauge - b.gauge)
    .filter(({ gauge }, i) => gauge <= DISTURBED * best || i < turns.length / 8);
}
