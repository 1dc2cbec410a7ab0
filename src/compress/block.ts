import type { FinishedTensor } from "../layout.js";
import { blockTensor, type DecoderSpec, sitesOf } from "../model.js";
import { disposeBlock } from "../models/decoder.js";
import { loadBlock } from "../models/load.js";
import type { StoredModel } from "../models/stored.js";
import { disposeStatistics } from "../statistic.js";
import { ErrorSums } from "./error-sums.js";
import { discardPruned, type PrunedLayer, withPruned } from "./layer.js";
import type { Steps } from "./pass.js";
import type { RotationFacts } from "./run-report.js";
import type { BlockState, RunTools, Transform, TransformRun } from "./transform.js";
import type { Note } from "./unit.js";

/** What came out of one block. */
export interface BlockOutcome {
  readonly layers: readonly Pick<PrunedLayer, "report" | "stored">[];
  /** Other tensors that changed or came to the block. */
  readonly others: readonly FinishedTensor[];
  readonly notes: readonly Note[];
  readonly rotations: readonly RotationFacts[];
  /** Parts of the journal that later blocks need as this one did. */
  readonly needs: readonly string[];
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
 * @param advance whether later blocks need this one's outputs, or steps the last one's
 * @returns the replaced layers, in the order in which a forward uses them, and what else changed
 */
export async function* compressBlock(
  { model, passes, denseAdvances: isDense, denseWaits, ride }: RunTools,
  steps: readonly StartedStep[],
  layer: number,
  advance: boolean,
): Steps<BlockOutcome> {
  const { backend } = passes;
  const shares = steps.map((_, i) => shareOf(steps.slice(i), layer));
  for (const [i, { run }] of steps.entries()) if (run.begin) yield* run.begin(layer, shares[i]);
  const isReplaced = (name: string) =>
    steps.some(({ plan }) => plan.layers.has(blockTensor(model.spec, layer, name)));
  const hold = steps.some(({ plan }) => plan.turnsWeights) ? "f32" : "exact";
  const state: BlockState = {
    block: await loadBlock(model, backend, layer, { hold, signal: passes.signal }),
    statistics: new Map(),
    replaced: sitesOf(model.spec.blocks[layer]).filter(({ name }) => isReplaced(name)),
    pruned: new Map(),
    tensors: [],
    notes: [],
    rotations: [],
    measures: false,
  };
  try {
    if (ride) yield* ride.before(state.block);
    for (const { run } of steps) await run.prepare?.(state.block);
    const needs = statisticsNeeded(model, steps, layer);
    const { dense } = passes.calibration;
    const advanceDense = advance && dense !== undefined && !denseWaits;
    if (needs.size > 0 || advanceDense) {
      const options = { advance: false, advanceDense };
      state.statistics = yield* passes.gather("calibrate", state.block, needs, options);
    }
    for (const [i, { run }] of steps.entries()) yield* run.apply(state, shares[i]);
    disposeStatistics(state.statistics.values());
    state.statistics.clear();

    const { block, pruned, tensors, notes, rotations } = state;
    const sums = new ErrorSums(backend, block, pruned);
    const denseAdvances = advance && isDense;
    if (state.measures || denseAdvances) {
      const options = { observe: sums.observe, advance: denseAdvances };
      yield* passes.run("measure", block, options);
    }
    if (advance && dense && !advanceDense) {
      yield* passes.run("advance", block, { advance: true, stream: dense });
    }
    if (advance && !denseAdvances) {
      yield* passes.run("advance", withPruned(block, pruned), { advance: true });
    }
    if (ride) yield* ride.after(withPruned(block, pruned));
    if (advance && layer + 1 === model.spec.blocks.length) {
      for (const { run } of steps) if (run.observeOutput) yield* run.observeOutput();
    }
    const layers = [...pruned].map(([name, done]) => sums.close(name, done));
    return {
      layers: await Promise.all(layers),
      others: tensors,
      notes,
      rotations,
      needs: steps.flatMap(({ run }) => run.partsOf?.(layer) ?? []),
    };
  } finally {
    disposeBlock(state.block);
    for (const done of state.pruned.values()) discardPruned(done);
    disposeStatistics(state.statistics.values());
  }
}

/** The first one's share of the time that is left for steps that take long. */
function shareOf(steps: readonly StartedStep[], layer: number): number {
  return 1 / Math.max(1, steps.filter(({ plan }) => plan.isTimed(layer)).length);
}

/** What is to be gathered of each shared input. */
function statisticsNeeded(
  { spec }: StoredModel,
  steps: readonly StartedStep[],
  layer: number,
): Map<string, ReadonlySet<string>> {
  const needed = new Map<string, ReadonlySet<string>>();
  for (const first of sitesOf(spec.blocks[layer]).filter(({ name, input }) => name === input)) {
    const wanted = steps.reduceRight<readonly string[]>(
      (later, { run }) => run.needs(layer, first, later),
      [],
    );
    if (wanted.length > 0) needed.set(first.name, new Set(wanted));
  }
  return needed;
}

/** Whether steps replace linears that stand before an input in its block. */
export function isReplacedBefore(
  spec: DecoderSpec,
  steps: readonly Transform[],
  layer: number,
  input: string,
): boolean {
  const names = sitesOf(spec.blocks[layer]).map(({ name }) => name);
  return names
    .slice(0, names.indexOf(input))
    .some((name) => steps.some(({ layers }) => layers.has(blockTensor(spec, layer, name))));
}
