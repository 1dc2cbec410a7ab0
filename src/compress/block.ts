import { type BlockWeights, disposeBlock } from "../decoder.js";
import type { FinishedTensor } from "../layout.js";
import { loadBlock } from "../load.js";
import type { StatisticName, Statistics } from "../method.js";
import { blockTensor, type Site, sitesOf } from "../model.js";
import type { LayerPlan, Recipe } from "../recipe.js";
import type { StoredModel } from "../stored-model.js";
import type { Tensor } from "../tensor.js";
import type { Budget } from "./budget.js";
import type { Journal } from "./journal.js";
import { type PrunedLayer, pruneLayer } from "./layer.js";
import { ErrorSums } from "./layer-error.js";
import { disposeStatistics, type Passes, type Steps } from "./pass.js";
import { foldNorms } from "./rotate.js";
import type { Rotator } from "./rotator.js";

/** Share of a block's time for its rotation where the pruning after it takes long too. */
const ROTATION_SHARE = 0.5;

/** What came out of one block. */
export interface BlockOutcome {
  readonly layers: readonly Pick<PrunedLayer, "report" | "stored">[];
  /** Other tensors that changed: those of a rotated block. */
  readonly others: readonly FinishedTensor[];
  /** What the search for the rotation had to say. */
  readonly notes: readonly string[];
  /** Parts of the journal that later blocks need as this one did. */
  readonly needs: readonly string[];
}

/** What a run brings to each of its blocks. */
export interface BlockTools {
  readonly model: StoredModel;
  readonly plan: ReadonlyMap<string, LayerPlan>;
  readonly recipe: Recipe;
  readonly passes: Passes;
  /** Absent when the recipe does not rotate. */
  readonly rotator: Rotator | undefined;
  readonly journal: Journal;
  readonly budget: Budget;
}

/**
 * Calibrates, rotates, prunes and passes one decoder block. Holds the block's weights, the statistics
 * that the methods ask for, and the activations; nothing of other blocks.
 *
 * @param advance whether later blocks need this one's outputs
 * @returns the pruned layers, in the order in which a forward uses them, and what else changed
 */
export async function* compressBlock(
  tools: BlockTools,
  layer: number,
  advance: boolean,
): Steps<BlockOutcome> {
  const { model, recipe, passes, rotator, budget } = tools;
  const { backend } = passes;
  const planned = plannedSites(tools, layer);
  if (rotator) yield* openRotator(tools, rotator, layer);
  let block = await loadBlock(model, backend, layer, { dense: true });
  let statistics = new Map<string, Statistics>();
  const pruned = new Map<string, PrunedLayer>();
  try {
    if (rotator) await foldNorms(backend, block);
    const needs = statisticsNeeded(tools, layer, planned);
    if (needs.size > 0) {
      statistics = yield* passes.gather("calibrate", block, needs, { advance: false });
    }
    let notes: readonly string[] = [];
    let others: readonly FinishedTensor[] = [];
    if (rotator) {
      const seconds = budget.part(isTimed(tools, layer, planned) ? ROTATION_SHARE : 1);
      const rotated = yield* budget.time(rotator.rotate(block, statistics, seconds));
      ({ block, notes } = rotated);
      statistics = new Map(rotated.statistics);
      others = await rotator.store(block, planned);
    }
    // Dense weights run once more only to measure errors that no Hessian gives, or to advance.
    const hasHessian = ({ input }: Site) => statistics.get(input)?.hessian;
    const measures = recipe.layerError && !planned.every(hasHessian);
    for (const [i, site] of planned.entries()) {
      keepOnly(statistics, planned.slice(i));
      pruned.set(site.name, yield* pruneOne(tools, block, site, planned, statistics));
      if (!measures && recipe.statistics !== "dense") denseWeight(block, site).dispose();
    }
    keepOnly(statistics, []);

    const sums = new ErrorSums(backend, block, pruned);
    const denseAdvances = advance && recipe.statistics === "dense";
    if (measures || denseAdvances) {
      const options = { observe: sums.observe, advance: denseAdvances };
      yield* passes.run("measure", block, options);
    }
    if (advance && !denseAdvances) {
      yield* passes.run("advance", withPruned(block, pruned), { advance: true });
    }
    const layers = [...pruned].map(([name, done]) => sums.close(name, done));
    return {
      layers: await Promise.all(layers),
      others,
      notes,
      needs: rotator?.partsOf(layer) ?? [],
    };
  } finally {
    disposeBlock(block);
    for (const done of pruned.values()) discard(done);
    disposeStatistics(statistics.values());
  }
}

/** Frees the statistics that none of the linears needs. */
function keepOnly(statistics: Map<string, Statistics>, sites: readonly Site[]): void {
  const inputs = new Set(sites.map(({ input }) => input));
  for (const [input, gathered] of statistics) {
    if (inputs.has(input)) continue;
    disposeStatistics([gathered]);
    statistics.delete(input);
  }
}

/** The linears of a block that are pruned, in the order in which a forward uses them. */
function plannedSites({ model, plan }: BlockTools, layer: number): Site[] {
  return sitesOf(model.spec.blocks[layer]).filter(({ name }) => plan.has(blockTensor(layer, name)));
}

async function* openRotator(tools: BlockTools, rotator: Rotator, layer: number): Steps<void> {
  const { budget } = tools;
  const planned = plannedSites(tools, layer);
  const share = isTimed(tools, layer, planned) ? ROTATION_SHARE : 1;
  const seconds = budget.part(share, Math.max(1, rotator.soughtAt(layer)));
  yield* budget.time(rotator.open(layer, seconds));
}

function isTimed({ plan }: BlockTools, layer: number, planned: readonly Site[]): boolean {
  return planned.some(({ name }) => plan.get(blockTensor(layer, name))!.method.isTimed);
}

/** What is to be gathered of each shared input, for the planned linears and the rotation. */
function statisticsNeeded(
  { model, plan, rotator }: BlockTools,
  layer: number,
  planned: readonly Site[],
): Map<string, ReadonlySet<StatisticName>> {
  const needed = new Map<string, ReadonlySet<StatisticName>>();
  const sites = sitesOf(model.spec.blocks[layer]);
  for (const first of sites.filter(({ name, input }) => name === input)) {
    const needs = planned
      .filter(({ input }) => input === first.name)
      .flatMap(({ name }) => {
        const { method, options } = plan.get(blockTensor(layer, name))!;
        return method.needs(options);
      });
    const wanted = rotator ? rotator.needs(first, needs) : needs;
    if (wanted.length > 0) needed.set(first.name, new Set(wanted));
  }
  return needed;
}

/** Prunes one linear; long optimisations tell how far they are and stop with the run. */
async function* pruneOne(
  { model, plan, recipe, passes, journal, budget }: BlockTools,
  block: BlockWeights,
  site: Site,
  planned: readonly Site[],
  statistics: ReadonlyMap<string, Statistics>,
): Steps<PrunedLayer> {
  const name = blockTensor(block.layer, site.name);
  const { samples, length } = passes.calibration;
  const at = planned.indexOf(site);
  const size = ({ name: one, shape: [rows, cols] }: Site) => {
    return plan.get(blockTensor(block.layer, one))!.method.isTimed ? rows * cols : 0;
  };
  const left = planned.slice(at).reduce((sum, one) => sum + size(one), 0);
  const seconds = size(site) > 0 ? budget.part(size(site) / left) : undefined;
  const work = passes.follow(
    "prune",
    (fraction) => (at + fraction) / planned.length,
    (signal, onProgress) =>
      pruneLayer(passes.backend, {
        name,
        original: denseWeight(block, site),
        bias: block.linears[site.name].bias,
        dtype: model.weights.get(`${name}.weight`)!.dtype,
        plan: plan.get(name)!,
        statistics: statistics.get(site.input) ?? {
          sequences: samples,
          tokens: samples * length,
        },
        seed: recipe.seed,
        measure: recipe.layerError,
        seconds,
        journal,
        signal,
        onProgress,
      }),
    discard,
  );
  return yield* size(site) > 0 ? budget.time(work) : work;
}

function discard({ linear, difference }: PrunedLayer): void {
  linear.weight.dispose();
  difference?.dispose();
}

function denseWeight(block: BlockWeights, { name }: Site): Tensor {
  return block.linears[name].weight as Tensor;
}

/** The same block with its pruned linears in place. */
function withPruned(block: BlockWeights, pruned: ReadonlyMap<string, PrunedLayer>): BlockWeights {
  const linears = { ...block.linears };
  for (const [name, { linear }] of pruned) linears[name] = linear;
  return { ...block, linears };
}
