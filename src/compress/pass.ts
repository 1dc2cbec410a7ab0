import type { Backend } from "../backend.js";
import { carry } from "../backends/carry.js";
import { type BlockSpec, type Site, sitesOf } from "../model.js";
import type { BlockWeights, LinearObserver } from "../models/decoder.js";
import { wholeTexts } from "../models/layers/segments.js";
import { pause, settlesWithin } from "../run.js";
import { comparesModels, type Residual, type Statistic, type Statistics } from "../statistic.js";
import { StatisticsGatherer } from "../statistics-gatherer.js";
import { paceSteps, type Work } from "../steps.js";
import type { Tensor } from "../tensor.js";
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

interface DensePass extends Pick<PassOptions, "observe" | "advance"> {
  /** What it runs through. @default the same block */
  readonly block?: BlockWeights | undefined;
}

export interface PassOptions {
  readonly observe?: LinearObserver | undefined;
  /** Write the block's outputs over its inputs. */
  readonly advance: boolean;
  /** Where nothing advances, the last linear whose inputs are of use. @default the block's last */
  readonly until?: string | undefined;
  /** The residual stream to run over, of the calibration's shape. @default the calibration's */
  readonly stream?: ResidualStream | undefined;
  /** Runs each batch over the dense model's stream first. */
  readonly dense?: DensePass | undefined;
}

export interface GatherOptions extends Omit<PassOptions, "observe" | "dense" | "until"> {
  /** Whether the dense model's stream goes through the block too. @default false */
  readonly advanceDense?: boolean | undefined;
  /** What the dense model's stream runs through. @default the same block */
  readonly denseBlock?: BlockWeights | undefined;
}

/** What is kept of a linear in the dense model. */
interface DenseInput {
  readonly input: Tensor;
  readonly residual?: Tensor | undefined;
}

/** Inputs of a batch in the dense model, kept until those of the compressed one come by. */
class DenseInputs {
  /** Linears whose inputs are kept, and whether the residual stream is too. */
  readonly wanted = new Map<string, boolean>();
  private readonly kept = new Map<string, DenseInput>();
  private last: DenseInput | undefined;

  constructor(private readonly backend: Backend) {}

  readonly observe: LinearObserver = (name, input, residual) => {
    const wanted = this.wanted.get(name);
    if (wanted === undefined) return undefined;
    this.kept.set(name, {
      input: this.copied(input),
      residual: wanted ? this.copied(residual) : undefined,
    });
    return undefined;
  };

  private copied(tensor: Tensor): Tensor {
    const copy = this.backend.zeros(tensor.shape);
    this.backend.copy(tensor, copy);
    return copy;
  }

  /** What was kept of a linear, until the next is taken. */
  take(name: string): DenseInput | undefined {
    this.free(this.last);
    this.last = this.kept.get(name);
    this.kept.delete(name);
    return this.last;
  }

  private free(one: DenseInput | undefined): void {
    one?.input.dispose();
    one?.residual?.dispose();
  }

  dispose(): void {
    for (const one of [this.last, ...this.kept.values()]) this.free(one);
  }
}

/** Adds inputs to statistics, carried to the backend that has them. */
function* addFrom(
  from: Backend,
  gatherer: StatisticsGatherer,
  input: Tensor,
  dense: Tensor | undefined,
  residual: Residual | undefined,
): Work {
  const { backend: to } = gatherer;
  if (to === from) {
    yield* gatherer.add(input, dense, residual);
    return;
  }
  const carried: Tensor[] = [];
  const waits: (Promise<void> | undefined)[] = [];
  const move = (tensor: Tensor) => {
    const there = to.zeros(tensor.shape, tensor.dtype);
    carried.push(there);
    waits.push(carry(from, tensor, to, there));
    return there;
  };
  try {
    const [there, denseThere] = [move(input), dense && move(dense)];
    const residualThere = residual && {
      dense: move(residual.dense),
      compressed: move(residual.compressed),
    };
    for (const wait of waits) yield wait;
    yield* gatherer.add(there, denseThere, residualThere);
  } finally {
    for (const tensor of carried) tensor.dispose();
  }
}

/** Runs blocks over the calibration windows, and follows other long work, as steps. */
export class Passes {
  constructor(
    readonly backend: Backend,
    readonly calibration: Calibration,
    readonly signal: AbortSignal | undefined,
    /** The statistics that can be gathered, by name. */
    readonly known: Readonly<Record<string, Statistic>>,
    /** Has the statistics of the widest inputs, where the first has no room. @default the first has all */
    readonly second?: Backend,
  ) {}

  /**
   * The backend that has the statistics of a linear's inputs, and solves what reads them.
   *
   * @param gathered names of the statistics
   */
  homeOf({ shape: [, cols] }: Site, block: BlockSpec, gathered: Iterable<string>): Backend {
    const { backend, second } = this;
    // Without a Hessian errors are measured as the block runs.
    if (!second || ![...gathered].includes("hessian")) return backend;
    const widest = Math.max(...sitesOf(block).map(({ shape }) => shape[1]));
    return cols === widest ? second : backend;
  }

  /**
   * Runs the calibration windows through a block. One batch of the stream is on the backend at a time,
   * and the runner's scratch is there only until the last.
   */
  async *run(
    phase: string,
    block: BlockWeights,
    { dense, stream = this.calibration.stream, until, ...options }: PassOptions,
    share: (fraction: number) => number = (fraction) => fraction,
  ): Steps<void> {
    const { backend } = this;
    const { runner, samples, length } = this.calibration;
    const batch = batchSequences(samples, length);
    const work = backend.zeros([batch * length, stream.cols]);
    const passes = [
      ...(dense
        ? [{ ...dense, block: dense.block ?? block, stream: this.calibration.dense! }]
        : []),
      { block, ...options, stream },
    ];
    const stop = until ?? sitesOf(block.spec).at(-1)!.name;
    try {
      for (let start = 0; start < samples; start += batch) {
        yield { phase, fraction: share(start / samples) };
        await pause(this.signal);
        const sequences = Math.min(batch, samples - start);
        const segments = wholeTexts(sequences, length);
        const x = backend.rows(work, 0, sequences * length);
        for (const { block, stream, observe, advance } of passes) {
          await stream.read(start * length, x);
          const steps = runner.steps(x, block, {
            segments,
            observe,
            until: advance ? undefined : stop,
          });
          await paceSteps(steps, this.signal);
          if (advance) await stream.write(start * length, x);
        }
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
   * @param options with `advanceDense` the dense model's stream goes through the block too
   */
  async *gather(
    phase: string,
    block: BlockWeights,
    needs: ReadonlyMap<string, ReadonlySet<string>>,
    { advanceDense, denseBlock, ...options }: GatherOptions,
    share?: (fraction: number) => number,
  ): Steps<Map<string, Statistics>> {
    const { backend } = this;
    const { samples } = this.calibration;
    const gatherers = new Map<string, StatisticsGatherer>();
    const statistics = new Map<string, Statistics>();
    const dense = new DenseInputs(backend);
    try {
      for (const site of sitesOf(block.spec)) {
        const { name, shape } = site;
        const wanted = needs.get(name);
        if (!wanted) continue;
        const chosen = [...wanted].map((statistic) => this.known[statistic]);
        const home = this.homeOf(site, block.spec, wanted);
        gatherers.set(name, new StatisticsGatherer(home, shape, samples, chosen));
        if (!chosen.some(comparesModels)) continue;
        dense.wanted.set(
          name,
          chosen.some(({ sees }) => sees === "residual"),
        );
      }
      const observe: LinearObserver = (name, input, compressed) => {
        const beside = dense.take(name);
        const residual = beside?.residual && { dense: beside.residual, compressed };
        const gatherer = gatherers.get(name);
        return gatherer && addFrom(backend, gatherer, input, beside?.input, residual);
      };
      const until = [...gatherers.keys()].at(-1);
      const beside =
        dense.wanted.size > 0 || advanceDense
          ? { observe: dense.observe, advance: advanceDense ?? false, block: denseBlock ?? block }
          : undefined;
      yield* this.run(phase, block, { ...options, observe, until, dense: beside }, share);
      for (const [name, gatherer] of gatherers) {
        statistics.set(name, await gatherer.finish(`${block.name}.${name}`));
      }
      gatherers.clear();
      return statistics;
    } finally {
      for (const gatherer of gatherers.values()) gatherer.dispose();
      dense.dispose();
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
