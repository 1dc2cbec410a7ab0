import type { Backend } from "./backend.js";
import { StatisticsGatherer } from "./calibrate.js";
import {
  type BlockRunner,
  type BlockWeights,
  disposeBlock,
  type LinearObserver,
} from "./decoder.js";
import { inputRotation, OUTPUT_ROTATION } from "./extras.js";
import type { Statistics } from "./method.js";
import { blockTensor, LINEAR_NAMES, type LinearName, linearShapes, SHARED_INPUT } from "./model.js";
import { type PrunedLayer, pruneLayer, round } from "./prune-layer.js";
import type { LayerPlan, Recipe } from "./recipe.js";
import {
  foldNorms,
  needsWithRotation,
  objectiveOf,
  type RotatedBlock,
  rotate,
} from "./rotate-block.js";
import type { RotationObjective, RotationOutcome } from "./rotation.js";
import { pause, settlesWithin } from "./run.js";
import type { StoredModel } from "./stored-model.js";
import type { Tensor } from "./tensor.js";
import { loadBlock } from "./weights.js";

/** How often a long optimisation is asked how far it is, in milliseconds. */
const PROGRESS_MS = 250;

/** Tokens that one pass through a block handles at a time. */
const BATCH_TOKENS = 2048;

export type BlockPhase = "calibrate" | "rotate" | "prune" | "measure" | "advance";

/** A step of a block's work: how far it is in [0, 1]. */
export interface BlockStep {
  readonly phase: BlockPhase;
  readonly fraction: number;
}

/** The residual stream of the calibration windows, and what runs blocks over it. */
export interface Calibration {
  readonly runner: BlockRunner;
  /** [samples * length, hiddenSize], updated in place from block to block. */
  readonly hidden: Tensor;
  /** [batch tokens, hiddenSize] scratch for passes that must not change `hidden`. */
  readonly work: Tensor;
  readonly samples: number;
  readonly length: number;
}

/** Sequences that one pass handles at a time. */
export function batchSequences(samples: number, length: number): number {
  return Math.min(samples, Math.max(1, Math.floor(BATCH_TOKENS / length)));
}

/** What came out of one block. */
export interface BlockOutcome {
  readonly layers: readonly PrunedLayer[];
  /** Other tensors that changed, by name: those of a rotated block. */
  readonly others: ReadonlyMap<string, Uint8Array>;
  readonly rotation: RotationOutcome | undefined;
}

interface PassOptions {
  readonly observe?: LinearObserver;
  /** Write the block's outputs over its inputs. */
  readonly advance: boolean;
}

/** Sums of ||X Dᵀ||² and ||X Wᵀ||² of each batch, for the layers whose error no Hessian gives. */
type ErrorSums = Map<LinearName, Promise<number>[][]>;

/**
 * Calibrates, prunes and passes one decoder block: the resumable unit of compression. Holds the
 * block's weights, the statistics that the methods ask for, and the activations; nothing of other
 * blocks.
 */
export class BlockCompressor {
  /** From the coordinates of the last rotated block back to the unrotated ones. */
  private wayBack: Tensor | undefined;

  constructor(
    private readonly backend: Backend,
    private readonly model: StoredModel,
    private readonly plan: ReadonlyMap<string, LayerPlan>,
    private readonly recipe: Recipe,
    private readonly calibration: Calibration,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /**
   * @param advance whether later blocks need this one's outputs
   * @returns the pruned layers, in the order in which a forward uses them, and what else changed
   */
  async *compress(layer: number, advance: boolean): AsyncGenerator<BlockStep, BlockOutcome, void> {
    const { backend, recipe } = this;
    let block = await loadBlock(this.model, backend, layer, true);
    const planned = LINEAR_NAMES.filter((name) => this.plan.has(layerName(layer, name)));
    let statistics: ReadonlyMap<LinearName, Statistics> = new Map();
    const pruned = new Map<LinearName, PrunedLayer>();
    try {
      if (recipe.rotate) await foldNorms(backend, block);
      statistics = yield* this.calibrate(block, planned);
      const rotated = recipe.rotate ? yield* this.rotate(block, statistics) : undefined;
      if (rotated) ({ block, statistics } = rotated);
      const others = rotated ? await this.storeRotated(block, planned) : new Map();
      // Dense weights run once more only to measure errors that no Hessian gives, or to advance.
      const hasHessian = (name: LinearName) => statistics.get(SHARED_INPUT[name])?.hessian;
      const measures = recipe.layerError && !planned.every(hasHessian);
      for (const [i, name] of planned.entries()) {
        const given = statistics.get(SHARED_INPUT[name]);
        const share = (fraction: number) => (i + fraction) / planned.length;
        pruned.set(name, yield* this.prune(block, name, given, share));
        if (!measures && recipe.statistics !== "dense") denseWeight(block, name).dispose();
      }
      disposeStatistics(statistics);
      statistics = new Map();

      const sums: ErrorSums = new Map();
      const denseAdvances = advance && recipe.statistics === "dense";
      if (measures || denseAdvances) {
        const observe = this.errorObserver(block, pruned, sums);
        yield* this.pass("measure", block, { observe, advance: denseAdvances });
      }
      if (advance && !denseAdvances) {
        yield* this.pass("advance", withPruned(block, pruned), { advance: true });
      }
      const closed = [...pruned].map(([name, done]) => closeError(done, sums.get(name)));
      return { layers: await Promise.all(closed), others, rotation: rotated?.outcome };
    } finally {
      disposeBlock(block);
      for (const done of pruned.values()) discard(done);
      disposeStatistics(statistics);
    }
  }

  /** Frees what is kept from block to block. */
  dispose(): void {
    this.wayBack?.dispose();
  }

  /** Statistics of each shared input that a planned linear, or the rotation, asks for. */
  private async *calibrate(
    block: BlockWeights,
    planned: readonly LinearName[],
  ): AsyncGenerator<BlockStep, Map<LinearName, Statistics>, void> {
    const gatherers = this.gatherers(block.layer, planned);
    const statistics = new Map<LinearName, Statistics>();
    if (gatherers.size === 0) return statistics;
    try {
      const observe: LinearObserver = (name, input) => gatherers.get(name)?.add(input);
      yield* this.pass("calibrate", block, { observe, advance: false });
      for (const [name, gatherer] of gatherers) {
        statistics.set(name, await gatherer.finish(layerName(block.layer, name)));
      }
      gatherers.clear();
      return statistics;
    } finally {
      for (const gatherer of gatherers.values()) gatherer.dispose();
    }
  }

  /** Rotates the block and its statistics in place. */
  private async *rotate(
    block: BlockWeights,
    statistics: ReadonlyMap<LinearName, Statistics>,
  ): AsyncGenerator<BlockStep, RotatedBlock, void> {
    const { backend, model, recipe } = this;
    const objective = this.objective;
    return yield* this.follow(
      "rotate",
      (fraction) => fraction,
      (signal, onProgress) =>
        rotate(backend, model.spec, block, statistics, {
          objective,
          ...recipe.rotate,
          signal,
          onProgress,
        }),
      ({ block: { inputRotation, outputRotation } }) => {
        inputRotation?.dispose();
        outputRotation?.dispose();
      },
    );
  }

  private get objective(): RotationObjective {
    return this.recipe.rotate?.objective ?? objectiveOf(this.recipe.method);
  }

  /**
   * What a rotation changes beside the planned linears: the others, norms and biases, rounded as they
   * are saved, and the turn from the last block's coordinates to this one's.
   */
  private async storeRotated(
    block: BlockWeights,
    planned: readonly LinearName[],
  ): Promise<Map<string, Uint8Array>> {
    const { backend, model } = this;
    const { layer, linears, inputRotation: turn, outputRotation: back } = block;
    const stored = new Map<string, Uint8Array>();
    const store = async (name: string, tensor: Tensor) => {
      const weightName = blockTensor(layer, name);
      stored.set(weightName, await round(backend, tensor, model.weights.get(weightName)!.dtype));
    };
    await store("input_layernorm.weight", block.inputNorm);
    await store("post_attention_layernorm.weight", block.postAttentionNorm);
    for (const name of LINEAR_NAMES) {
      const { bias } = linears[name];
      if (bias) await store(`${name}.bias`, bias);
      if (!planned.includes(name)) await store(`${name}.weight`, denseWeight(block, name));
    }
    const whole = backend.zeros(turn!.shape);
    if (this.wayBack) backend.ops.gemm(this.wayBack, turn!, whole);
    else backend.copy(turn!, whole);
    stored.set(inputRotation(layer), await round(backend, whole, "F32"));
    // From now on it holds the way back to the unrotated coordinates.
    backend.copy(back!, whole);
    this.wayBack?.dispose();
    this.wayBack = whole;
    if (layer + 1 === model.spec.layers) {
      stored.set(OUTPUT_ROTATION, await round(backend, whole, "F32"));
    }
    return stored;
  }

  /** One gatherer for each input that a planned linear needs statistics of. */
  private gatherers(
    layer: number,
    planned: readonly LinearName[],
  ): Map<LinearName, StatisticsGatherer> {
    const shapes = linearShapes(this.model.spec);
    const gatherers = new Map<LinearName, StatisticsGatherer>();
    // A rotation looks at all of a block's linears, whichever are pruned.
    const looked = this.recipe.rotate ? LINEAR_NAMES : planned;
    for (const input of new Set(looked.map((name) => SHARED_INPUT[name]))) {
      const needs = planned
        .filter((name) => SHARED_INPUT[name] === input)
        .flatMap((name) => this.plan.get(layerName(layer, name))!.method.needs);
      const wanted = this.recipe.rotate ? needsWithRotation(input, needs, this.objective) : needs;
      if (wanted.length === 0) continue;
      const { samples } = this.calibration;
      const cols = shapes[input][1];
      gatherers.set(input, new StatisticsGatherer(this.backend, cols, samples, new Set(wanted)));
    }
    return gatherers;
  }

  /** Runs the calibration windows through the block, batch by batch. */
  private async *pass(
    phase: BlockPhase,
    block: BlockWeights,
    { observe, advance }: PassOptions,
  ): AsyncGenerator<BlockStep, void, void> {
    const { backend } = this;
    const { runner, hidden, work, samples, length } = this.calibration;
    const batch = batchSequences(samples, length);
    for (let start = 0; start < samples; start += batch) {
      yield { phase, fraction: start / samples };
      await pause(this.signal);
      const sequences = Math.min(batch, samples - start);
      const inputs = backend.rows(hidden, start * length, sequences * length);
      if (advance) runner.run(inputs, block, { sequences, observe });
      else {
        const scratch = backend.rows(work, 0, sequences * length);
        backend.copy(inputs, scratch);
        runner.run(scratch, block, { sequences, observe, observeOnly: true });
      }
    }
  }

  /** Prunes one linear; long optimisations tell how far they are and stop with the run. */
  private async *prune(
    block: BlockWeights,
    linear: LinearName,
    given: Statistics | undefined,
    share: (fraction: number) => number,
  ): AsyncGenerator<BlockStep, PrunedLayer, void> {
    const { recipe, calibration } = this;
    const name = layerName(block.layer, linear);
    const { samples, length } = calibration;
    return yield* this.follow(
      "prune",
      share,
      (signal, onProgress) =>
        pruneLayer(this.backend, {
          name,
          original: denseWeight(block, linear),
          bias: block.linears[linear].bias,
          dtype: this.model.weights.get(`${name}.weight`)!.dtype,
          plan: this.plan.get(name)!,
          statistics: given ?? { sequences: samples, tokens: samples * length },
          seed: recipe.seed,
          measure: recipe.layerError,
          signal,
          onProgress,
        }),
      discard,
    );
  }

  /**
   * Follows long work that tells how far it is. Leaving early ends the work too, before the tensors
   * that it uses are freed.
   *
   * @param free frees a result that nobody takes
   */
  private async *follow<T>(
    phase: BlockPhase,
    share: (fraction: number) => number,
    start: (signal: AbortSignal, onProgress: (fraction: number) => void) => Promise<T>,
    free: (result: T) => void,
  ): AsyncGenerator<BlockStep, T, void> {
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

  /** Adds up ||X Dᵀ||² and ||X Wᵀ||² of the layers whose error no Hessian gives. */
  private errorObserver(
    block: BlockWeights,
    pruned: ReadonlyMap<LinearName, PrunedLayer>,
    sums: ErrorSums,
  ): LinearObserver {
    const { backend } = this;
    return (name, input) => {
      const difference = pruned.get(name)?.difference;
      if (!difference) return;
      const original = denseWeight(block, name);
      const out = backend.zeros([input.shape[0], original.shape[0]]);
      const energy = (weight: Tensor) => {
        backend.ops.linear(input, weight, out);
        return backend.ops.sumOfSquares(out);
      };
      sums.set(name, [...(sums.get(name) ?? []), [energy(difference), energy(original)]]);
      out.dispose();
    };
  }
}

function disposeStatistics(statistics: ReadonlyMap<LinearName, Statistics>): void {
  for (const { hessian, columnSquares } of statistics.values()) {
    hessian?.dispose();
    columnSquares?.dispose();
  }
}

function discard({ linear: { weight, sandwich }, difference }: PrunedLayer): void {
  for (const made of [weight, sandwich?.left, sandwich?.right, difference]) made?.dispose();
}

/** Name of a linear layer, such as "model.layers.3.mlp.up_proj". */
export function layerName(layer: number, linear: LinearName): string {
  return blockTensor(layer, linear);
}

function denseWeight(block: BlockWeights, name: LinearName): Tensor {
  return block.linears[name].weight as Tensor;
}

/** The same block with its pruned linears in place. */
function withPruned(
  block: BlockWeights,
  pruned: ReadonlyMap<LinearName, PrunedLayer>,
): BlockWeights {
  const linears = { ...block.linears };
  for (const [name, { linear }] of pruned) linears[name] = linear;
  return { ...block, linears };
}

/** Completes a layer's report with the error that a pass measured. */
async function closeError(
  layer: PrunedLayer,
  sums: readonly Promise<number>[][] | undefined,
): Promise<PrunedLayer> {
  if (!sums) return layer;
  const totals = [0, 0];
  for (const pair of sums) {
    for (const [i, sum] of (await Promise.all(pair)).entries()) totals[i] += sum;
  }
  const error = totals[1] > 0 ? totals[0] / totals[1] : 0;
  return { ...layer, report: { ...layer.report, layerError: error } };
}
