import type { BlockStep } from "./pass.js";
import type { RideWeights } from "./ride.js";
import type { PhaseTime } from "./run-report.js";
import type { Phase, Transform } from "./transform.js";

/** How far a run is. */
export interface Progress {
  /** Share of the whole work that is done, in [0, 1]; it never falls. */
  readonly fraction: number;
  /** Seconds until the end, by what earlier blocks took; undefined while nothing tells. */
  readonly secondsLeft: number | undefined;
}

/** A phase that was begun. */
interface Begun {
  readonly name: string;
  readonly block: number;
  readonly at: number;
}

/** Share of a phase that must be done before its pace tells how long it takes. */
const TELLING = 0.02;

/** What writing the output weighs, for each block. */
const WRITE_WEIGHT = 1;

/** Says what share of the whole work is done, and when it will be. */
export class Course {
  /** The phases of each block. */
  private readonly plan: readonly (readonly Phase[])[];
  /** What all blocks before each weigh together. */
  private readonly before: readonly number[];
  /** What each phase weighs in all blocks from each on. */
  private readonly from: ReadonlyMap<string, Float64Array>;
  /** Phases that are guesses in some block. */
  private readonly guesses: ReadonlySet<string>;
  private readonly total: number;
  /** What scoring the windows of an evaluation weighs. */
  private readonly scores: number;
  private highest = 0;
  /** Seconds that a phase took in the last block that had it, for one of its weight. */
  private readonly rates = new Map<string, number>();
  private begun: Begun | undefined;
  /** What the phases of each block took in this run. */
  private readonly taken = new Map<number, Map<string, number>>();
  private writeBegun: number | undefined;

  /**
   * @param beside what runs beside the compressed model: whether the dense one does (`twice`), and what an
   *   evaluation adds that rides along (`ride`). @default nothing
   * @param now the time in seconds. @default the clock's
   */
  constructor(
    steps: readonly Transform[],
    private readonly layers: number,
    { twice, ride }: { readonly twice?: boolean; readonly ride?: RideWeights | undefined } = {},
    private readonly now = () => performance.now() / 1000,
  ) {
    this.scores = ride?.scores ?? 0;
    this.plan = Array.from({ length: layers }, (_, block) => {
      const phases = steps.map((step) => step.phases(block));
      return [
        ...phases.flatMap(({ before }) => before),
        ...(ride ? [ride.before] : []),
        ["calibrate", twice ? 13 : 7],
        ...phases.flatMap(({ after }) => after),
        ["measure", 2],
        ["advance", 5],
        ...(ride ? [ride.after] : []),
      ];
    });
    const before = [0];
    for (const phases of this.plan) before.push(before[before.length - 1] + sum(phases));
    this.before = before;
    const all = this.plan.flat();
    this.guesses = new Set(all.filter(([, , isGuess]) => isGuess).map(([name]) => name));
    const names = new Set(all.map(([name]) => name));
    this.from = new Map(Array.from(names, (name) => [name, new Float64Array(layers + 1)]));
    for (let block = layers - 1; block >= 0; block--) {
      for (const weights of this.from.values()) weights[block] = weights[block + 1];
      for (const [name, weight] of this.plan[block]) this.from.get(name)![block] += weight;
    }
    this.total = before[layers] + this.scores + WRITE_WEIGHT * layers;
  }

  /** A step of a block's work. */
  at(block: number, { phase, fraction }: BlockStep): Progress {
    const phases = this.plan[block];
    const at = phases.findIndex(([name]) => name === phase);
    const now = this.now();
    if (this.begun?.name !== phase || this.begun.block !== block) {
      this.close(now);
      this.begun = { name: phase, block, at: now };
    }
    const weight = phases[at][1];
    const done = this.before[block] + sum(phases.slice(0, at)) + weight * fraction;
    const pace = fraction > TELLING ? (now - this.begun.at) / (weight * fraction) : undefined;
    const rates = new Map(this.rates);
    if (pace !== undefined && !rates.has(phase)) rates.set(phase, pace);
    const own: Phase = [phase, weight * (1 - fraction)];
    const later = [...this.from].map(([name, weights]): Phase => [name, weights[block + 1]]);
    const rest = [own, ...phases.slice(at + 1), ...later];
    return this.progress(done, this.secondsOf(rest, rates));
  }

  /** The part of the windows of an evaluation that is scored, in [0, 1]. */
  scoring(fraction: number): Progress {
    this.close(this.now());
    return this.progress(this.before[this.layers] + this.scores * fraction, undefined);
  }

  /** The part of the output that is written, in [0, 1]. */
  writing(fraction: number): Progress {
    const now = this.now();
    this.close(now);
    this.writeBegun ??= now;
    return this.progress(this.total - WRITE_WEIGHT * this.layers * (1 - fraction), undefined);
  }

  /** Ends a block's last phase; what each of its phases took in this run, in their order. */
  end(block: number): PhaseTime[] {
    this.close(this.now());
    return Array.from(this.taken.get(block) ?? [], ([phase, seconds]) => ({ phase, seconds }));
  }

  /** Seconds since writing began. */
  get writeSeconds(): number {
    return this.writeBegun === undefined ? 0 : this.now() - this.writeBegun;
  }

  /** Forgets what the phases took, as the rest runs elsewhere. */
  forget(): void {
    this.begun = undefined;
    this.rates.clear();
  }

  private close(now: number): void {
    if (!this.begun) return;
    const { name, block, at } = this.begun;
    const weight = sum(this.plan[block].filter(([phase]) => phase === name));
    this.rates.set(name, (now - at) / weight);
    const taken = this.taken.get(block) ?? new Map<string, number>();
    taken.set(name, (taken.get(name) ?? 0) + now - at);
    this.taken.set(block, taken);
    this.begun = undefined;
  }

  /** Seconds that phases will take; undefined when one is among them that nothing is known of. */
  private secondsOf(
    phases: readonly Phase[],
    rates: ReadonlyMap<string, number>,
  ): number | undefined {
    const passes = [...rates].filter(([name]) => !this.guesses.has(name)).map(([, rate]) => rate);
    // Passes over the windows weigh what they take.
    const usual = passes.reduce((all, rate) => all + rate, 0) / passes.length;
    let seconds = 0;
    for (const [name, weight] of phases) {
      if (weight === 0) continue;
      seconds += weight * (rates.get(name) ?? (this.guesses.has(name) ? Number.NaN : usual));
    }
    return Number.isNaN(seconds) ? undefined : seconds;
  }

  private progress(done: number, secondsLeft: number | undefined): Progress {
    this.highest = Math.max(this.highest, Math.min(1, done / this.total));
    return { fraction: this.highest, secondsLeft };
  }
}

function sum(phases: readonly Phase[]): number {
  return phases.reduce((total, [, weight]) => total + weight, 0);
}
