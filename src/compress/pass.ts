import type { Backend } from "../backend.js";
import { sitesOf } from "../model.js";
import type { BlockWeights, LinearObserver } from "../models/decoder.js";
import { pause, settlesWithin } from "../run.js";
import type { Statistic, Statistics } from "../statistic.js";
import { StatisticsGatherer } from "../statistics-gatherer.js";
import { paceSteps } from "../steps.js";
import { batchSequences, type Calibration } from "./calibration.js";
import type { ResidualStream } from "./stream.js";

/** How often a long optimisation is asked how far it is, in milliseconds. */
const PROGRESS_MS = 250;

/** A step of a block's work: how far a phase is in [0, 1]. */
export interface BlockStep {
  /** "calibrate", "measure", "advance", or a phase of a recipe's step such as "prune". */
  readonly phase: string;
  readonly fraction: number;
}

/** Work that tells how far it is. */
export type Steps<Result> = AsyncGenerator<BlockStep, Result, void>;

export interface PassOptions {
  readonly observe?: LinearObserver | undefined;
  /** Write the block's outputs over its inputs. */
  readonly advance: boolean;
  /** The residual stream to run over, of the calibration's shape. @default the calibration's */
  readonly stream?: ResidualStream | undefined;
}

/** Runs blocks over the calibration windows, and follows other long work, as steps. */
export class Passes {
  constructor(
    readonly backend: Backend,
    readonly calibration: Calibration,
    readonly signal: AbortSignal | undefined,
    /** The statistics that can be gathered, by name. */
    readonly known: Readonly<Record<string, Statistic>>,
  ) {}

  /**
   * Runs the calibration windows through a block. One batch of the stream is on the backend at a time,
   * and the runner's scratch is there only until the last.
   */
  async *run(
    phase: string,
    block: BlockWeights,
    { observe, advance, stream = this.calibration.stream }: PassOptions,
    share: (fraction: number) => number = (fraction) => fraction,
  ): Steps<void> {
    const { backend } = this;
    const { runner, samples, length } = this.calibration;
    const batch = batchSequences(samples, length);
    const work = backend.zeros([batch * length, stream.cols]);
    try {
      for (let start = 0; start < samples; start += batch) {
        yield { phase, fraction: share(start / samples) };
        await pause(this.signal);
        const sequences = Math.min(batch, samples - start);
        const x = backend.rows(work, 0, sequences * length);
        await stream.read(start * length, x);
        const steps = runner.steps(x, block, { sequences, observe, observeOnly: !advance });
        await paceSteps(steps, this.signal);
        if (advance) await stream.write(start * length, x);
      }
    } finally {
      work.dispose();
      runner.release();
    }
  }

  /**
   * Runs a block and gathers statistics of the inputs of some of its linears.
   *
   * @param needs what of which linear's inputs
   */
  async *gather(
    phase: string,
    block: BlockWeights,
    needs: ReadonlyMap<string, ReadonlySet<string>>,
    options: Omit<PassOptions, "observe">,
    share?: (fraction: number) => number,
  ): Steps<Map<string, Statistics>> {
    const { backend } = this;
    const { samples } = this.calibration;
    const gatherers = new Map<string, StatisticsGatherer>();
    const statistics = new Map<string, Statistics>();
    try {
      for (const { name, shape } of sitesOf(block.spec)) {
        const wanted = needs.get(name);
        if (!wanted) continue;
        const chosen = [...wanted].map((statistic) => this.known[statistic]);
        gatherers.set(name, new StatisticsGatherer(backend, shape[1], samples, chosen));
      }
      const observe: LinearObserver = (name, input) => gatherers.get(name)?.add(input);
      yield* this.run(phase, block, { ...options, observe }, share);
      for (const [name, gatherer] of gatherers) {
        statistics.set(name, await gatherer.finish(`${block.name}.${name}`));
      }
      gatherers.clear();
      return statistics;
    } finally {
      for (const gatherer of gatherers.values()) gatherer.dispose();
    }
  }

  /**
   * Follows long work that tells how far it is. Leaving early ends the work too, before the tensors
   * that it uses are freed.
   *
   * @param free frees a result that nobody takes
   */
  async *follow<Result>(
    phase: string,
    share: (fraction: number) => number,
    start: (signal: AbortSignal, onProgress: (fraction: number) => void) => Promise<Result>,
    free: (result: Result) => void,
  ): Steps<Result> {
    const { signal } = this;
    yield { phase, fraction: share(0) };
    await pause(signal);
    const leave = new AbortController();
    let fraction = 0;
    const work = start(signal ? AbortSignal.any([signal, leave.signal]) : leave.signal, (done) => {
      fraction = done;
    });
    let isDone = false;
    try {
      while (!(await settlesWithin(work, PROGRESS_MS))) yield { phase, fraction: share(fraction) };
      isDone = true;
      return await work;
    } finally {
      if (!isDone) {
        leave.abort();
        await work.then(free, () => {});
      }
    }
  }
}
