import { median } from "../figures.js";
import type { Case, Mode } from "./cases.js";

/**
 * Today's rate over the accepted build's, of each pair of neighbouring turns, by mode and case, as in
 * "relaxed: GEMM 512".
 */
export type Comparison = Readonly<Record<string, readonly number[]>>;

/** Today's rate may be so much of the accepted build's, and no less. */
export const LEAST = 0.9;

/** In each, both builds have a case by turns for a while. */
const ROUNDS = 16;
const WARM_UP = 3;
/** Seconds that each build has a case in a round, and in a turn of it, at least. */
const WHILE = 0.008;
const TURN = 0.001;

/** Seconds of a core that this process had: other programs, which also run, add nothing to them. */
function coreSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Runs a case for a turn; seconds a call. */
async function turn({ run }: Case): Promise<number> {
  const started = coreSeconds();
  let now = started;
  let calls = 0;
  do {
    const running = run();
    if (running instanceof Promise) await running;
    calls++;
    now = coreSeconds();
  } while (now - started < TURN);
  return (now - started) / calls;
}

function casesOf(modes: readonly Mode[]): Map<string, Case> {
  const named = modes.flatMap((mode) =>
    mode.cases.map((one): [string, Case] => [`${mode.name}: ${one.name}`, one]),
  );
  return new Map(named);
}

/**
 * Measures two builds by turns. Neighbours are compared, as what other programs take of the caches and
 * the memory is nearly the same for both. What today's build lacks is left out: `lost` names it.
 *
 * @param only names of the cases to measure
 */
export async function compare(
  today: readonly Mode[],
  accepted: readonly Mode[],
  only?: readonly string[],
): Promise<Comparison> {
  const ours = casesOf(today);
  const found: Record<string, number[]> = {};
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    for (const [name, theirs] of casesOf(accepted)) {
      const own = ours.get(name);
      if (!own || (only && !only.includes(name))) continue;
      const end = coreSeconds() + 2 * WHILE;
      // Whichever is second finds the caches as its rival left them.
      for (let swap = round % 2 === 0; coreSeconds() < end; swap = !swap) {
        const first = await turn(swap ? theirs : own);
        const second = await turn(swap ? own : theirs);
        if (round < 0) continue;
        found[name] ??= [];
        found[name].push(swap ? first / second : second / first);
      }
    }
  }
  return found;
}

/** The accepted build's cases that today's lacks. */
export function lost(today: readonly Mode[], accepted: readonly Mode[]): string[] {
  const there = casesOf(today);
  return [...casesOf(accepted).keys()].filter((name) => !there.has(name));
}

/** The pairs of both comparisons, of which the second may be of some cases only. */
export function join(a: Comparison, b: Comparison): Comparison {
  const pairs = Object.entries(b).map(([name, shares]) => [name, [...(a[name] ?? []), ...shares]]);
  return { ...a, ...Object.fromEntries(pairs) };
}

/** A case's share of the accepted build's rate: the pairs' median. */
export function shareOf(found: Comparison, name: string): number {
  return median(found[name]);
}

/** The cases that run at less than such a share of the accepted build's rate. */
export function below(share: number, found: Comparison): string[] {
  return Object.keys(found).filter((name) => shareOf(found, name) < share);
}

/** Lines with each mode's shares. */
export function describe(found: Comparison): string[] {
  const byMode = new Map<string, string[]>();
  for (const name of Object.keys(found)) {
    const [mode, one] = name.split(/: (.*)/);
    byMode.set(mode, [...(byMode.get(mode) ?? []), `${one} ${shareOf(found, name).toFixed(2)}`]);
  }
  return [...byMode].map(([mode, shares]) => `${mode}: ${shares.join("; ")}`);
}
