import { type BlockWeights, disposeBlock } from "../decoder.js";
import { loadBlock } from "../load.js";
import type { StatisticName } from "../method.js";
import { blockTensor, LINEAR_NAMES, type LinearName, SHARED_INPUT } from "../model.js";
import { discardPruned, layerParts, type PrunedLayer } from "./layer.js";
import { ErrorSums } from "./layer-error.js";
import { disposeStatistics, type Steps } from "./pass.js";
import type {
  BlockState,
  Note,
  RunTools,
  StoredTensor,
  Transform,
  TransformRun,
} from "./transform.js";

/** What came out of one block. */
export interface BlockOutcome {
  readonly layers: readonly Pick<PrunedLayer, "report" | "stored">[];
  /** Other tensors that changed or came to the block. */
  readonly others: readonly StoredTensor[];
  readonly notes: readonly Note[];
}

/** A planned step and its work on the model. */
export interface StartedStep {
  readonly plan: Transform;
  readonly run: TransformRun;
}

/**
 * Calibrates one decoder block, takes it through the steps and passes it. Holds the block's weights,
 * the statistics that the steps ask for, and the activations; nothing of other blocks.
 *
 * @param advance whether later blocks need this one's outputs
 * @returns the replaced layers, in the order in which a forward uses them, and what else changed
 */
export async function* compressBlock(
  { model, passes, denseAdvances: isDense }: RunTools,
  steps: readonly StartedStep[],
  layer: number,
  advance: boolean,
): Steps<BlockOutcome> {
  const { backend } = passes;
  const shares = steps.map((_, i) => shareOf(steps.slice(i), layer));
  for (const [i, { run }] of steps.entries()) if (run.begin) yield* run.begin(layer, shares[i]);
  const isReplaced = (name: LinearName) =>
    steps.some(({ plan }) => plan.layers.has(blockTensor(layer, name)));
  const state: BlockState = {
    block: await loadBlock(model, backend, layer, { dense: true }),
    statistics: new Map(),
    replaced: LINEAR_NAMES.filter(isReplaced),
    pruned: new Map(),
    tensors: [],
    notes: [],
    measures: false,
  };
  try {
    for (const { run } of steps) await run.prepare?.(state.block);
    const needs = statisticsNeeded(steps, layer);
    if (needs.size > 0) {
      state.statistics = yield* passes.gather("calibrate", state.block, needs, { advance: false });
    }
    for (const [i, { run }] of steps.entries()) yield* run.apply(state, shares[i]);
    disposeStatistics(state.statistics.values());
    state.statistics.clear();

    const { block, pruned, tensors, notes } = state;
    const sums = new ErrorSums(backend, block, pruned);
    const denseAdvances = advance && isDense;
    if (state.measures || denseAdvances) {
      const options = { observe: sums.observe, advance: denseAdvances };
      yield* passes.run("measure", block, options);
    }
    if (advance && !denseAdvances) {
      yield* passes.run("advance", withPruned(block, pruned), { advance: true });
    }
    const layers = [...pruned].map(([name, done]) => sums.close(name, done));
    return { layers: await Promise.all(layers), others: tensors, notes };
  } finally {
    disposeBlock(state.block);
    for (const done of state.pruned.values()) discardPruned(done);
    disposeStatistics(state.statistics.values());
  }
}

/** Names in the journal of what a block leaves there before it is finished. */
export function blockParts(layer: number): string[] {
  return LINEAR_NAMES.flatMap((name) => layerParts(blockTensor(layer, name)));
}

/** The first one's share of the time that is left for steps that take long. */
function shareOf(steps: readonly StartedStep[], layer: number): number {
  return 1 / Math.max(1, steps.filter(({ plan }) => plan.isTimed(layer)).length);
}

/** What is to be gathered of each shared input. */
function statisticsNeeded(
  steps: readonly StartedStep[],
  layer: number,
): Map<LinearName, ReadonlySet<StatisticName>> {
  const needed = new Map<LinearName, ReadonlySet<StatisticName>>();
  for (const input of new Set(LINEAR_NAMES.map((name) => SHARED_INPUT[name]))) {
    const wanted = steps.reduceRight<readonly StatisticName[]>(
      (later, { run }) => run.needs(layer, input, later),
      [],
    );
    if (wanted.length > 0) needed.set(input, new Set(wanted));
  }
  return needed;
}

/** The same block with its pruned linears in place. */
function withPruned(block: BlockWeights, pruned: BlockState["pruned"]): BlockWeights {
  const linears = { ...block.linears };
  for (const [name, { linear }] of pruned) linears[name] = linear;
  return { ...block, linears };
}
