import type { Backend } from "./backend.js";
import { StatisticsGatherer } from "./calibrate.js";
import {
  type BlockRunner,
  type BlockWeights,
  disposeBlock,
  type LinearObserver,
} from "./decoder.js";
import type { Statistics } from "./method.js";
import { blockTensor, LINEAR_NAMES, type LinearName, linearShapes, SHARED_INPUT } from "./model.js";
import { type PrunedLayer, pruneLayer } from "./prune-layer.js";
import type { LayerPlan, Recipe } from "./recipe.js";
import { pause } from "./run.js";
import type { StoredModel } from "./stored-model.js";
import type { Tensor } from "./tensor.js";
import { loadBlock } from "./weights.js";

/** How often a long optimisation is asked how far it is, in milliseconds. */
const PROGRESS_MS = 250;

/** Tokens that one pass through a block handles at a time. */
const BATCH_TOKENS = 2048;

export type BlockPhase = "calibrate" | "prune" | "measure" | "advance";

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
   * @returns the pruned layers, in the order in which a forward uses them
   */
  async *compress(
    layer: number,
    advance: boolean,
  ): AsyncGenerator<BlockStep, readonly PrunedLayer[], void> {
    const { backend, recipe } = this;
    const dense = await loadBlock(this.model, backend, layer, true);
    const planned = LINEAR_NAMES.filter((name) => this.plan.has(layerName(layer, name)));
    const gatherers = this.gatherers(layer, planned);
    const pruned = new Map<LinearName, PrunedLayer>();
    try {
      if (gatherers.size > 0) {
        const observe: LinearObserver = (name, input) => gatherers.get(name)?.add(input);
        yield* this.pass("calibrate", dense, { observe, advance: false });
      }
      const statistics = new Map<LinearName, Statistics>();
      for (const [name, gatherer] of gatherers) {
        statistics.set(name, await gatherer.finish(layerName(layer, name)));
      }
      for (const [i, name] of planned.entries()) {
        const given = statistics.get(SHARED_INPUT[name]);
        const share = (fraction: number) => (i + fraction) / planned.length;
        pruned.set(name, yield* this.prune(dense, name, given, share));
      }
      for (const gatherer of gatherers.values()) gatherer.dispose();
      gatherers.clear();

      const sums: ErrorSums = new Map();
      const isOpen = [...pruned.values()].some(({ difference }) => difference);
      const denseAdvances = advance && recipe.statistics === "dense";
      if (isOpen || denseAdvances) {
        const observe = this.errorObserver(dense, pruned, sums);
        yield* this.pass("measure", dense, { observe, advance: denseAdvances });
      }
      if (advance && !denseAdvances) {
        yield* this.pass("advance", withPruned(dense, pruned), { advance: true });
      }
      return await Promise.all(
        [...pruned].map(([name, layer]) => closeError(layer, sums.get(name))),
      );
    } finally {
      disposeBlock(dense);
      for (const layer of pruned.values()) discard(layer);
      for (const gatherer of gatherers.values()) gatherer.dispose();
    }
  }

  /** One gatherer for each input that a planned linear needs statistics of. */
  private gatherers(
    layer: number,
    planned: readonly LinearName[],
  ): Map<LinearName, StatisticsGatherer> {
    const shapes = linearShapes(this.model.spec);
    const gatherers = new Map<LinearName, StatisticsGatherer>();
    for (const input of new Set(planned.map((name) => SHARED_INPUT[name]))) {
      const needs = planned
        .filter((name) => SHARED_INPUT[name] === input)
        .flatMap((name) => this.plan.get(layerName(layer, name))!.method.needs);
      if (needs.length === 0) continue;
      const { samples } = this.calibration;
      const cols = shapes[input][1];
      gatherers.set(input, new StatisticsGatherer(this.backend, cols, samples, new Set(needs)));
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
    const { recipe, calibration, signal } = this;
    const name = layerName(block.layer, linear);
    yield { phase: "prune", fraction: share(0) };
    await pause(signal);
    const { samples, length } = calibration;
    // Leaving early must end the work too, before its tensors are freed.
    const leave = new AbortController();
    let fraction = 0;
    const work = pruneLayer(this.backend, {
      name,
      original: denseWeight(block, linear),
      bias: block.linears[linear].bias,
      dtype: this.model.weights.get(`${name}.weight`)!.dtype,
      plan: this.plan.get(name)!,
      statistics: given ?? { sequences: samples, tokens: samples * length },
      seed: recipe.seed,
      measure: recipe.layerError,
      signal: signal ? AbortSignal.any([signal, leave.signal]) : leave.signal,
      onProgress: (done) => {
        fraction = done;
      },
    });
    let isDone = false;
    try {
      while (!(await settlesWithin(work, PROGRESS_MS))) {
        yield { phase: "prune", fraction: share(fraction) };
      }
      isDone = true;
      return await work;
    } finally {
      if (!isDone) {
        leave.abort();
        await work.then(discard, () => {});
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

/** Whether a promise settles in time; its rejection counts as settled. */
async function settlesWithin(work: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  const settled = work.then(
    () => true,
    () => true,
  );
  const result = await Promise.race([settled, late]);
  clearTimeout(timer);
  return result;
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
