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
import { layerError } from "./prune.js";
import type { LayerPlan, Recipe } from "./recipe.js";
import { pause } from "./run.js";
import { formatSparsity } from "./sparsity.js";
import type { StoredModel } from "./stored-model.js";
import type { StoredDType, Tensor } from "./tensor.js";
import { downloadFloats, loadBlock } from "./weights.js";

/** Tokens that one pass through a block handles at a time. */
const BATCH_TOKENS = 2048;

/** What one layer became: a line of the report. */
export interface LayerReport {
  readonly name: string;
  readonly method: string;
  readonly sparsity: string;
  /** [outFeatures, inFeatures] */
  readonly shape: readonly [number, number];
  /** Share of the weights that were removed. */
  readonly removed: number;
  /** ||X Wᵀ - X Ŵᵀ||² / ||X Wᵀ||² on the calibration inputs; absent when not measured. */
  readonly layerError?: number;
  /** Figures that the method reports about itself. */
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** A pruned layer: its bytes in the checkpoint's dtype, and its line of the report. */
export interface PrunedLayer {
  readonly report: LayerReport;
  readonly weightName: string;
  readonly bytes: Uint8Array;
}

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

/** Removed weights of one linear, while its layer error is still to be measured. */
interface OpenError {
  readonly difference: Tensor;
  readonly sums: Promise<number>[][];
}

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
    const pruned = new Map<LinearName, Tensor>();
    const open = new Map<LinearName, OpenError>();
    try {
      if (gatherers.size > 0) {
        const observe: LinearObserver = (name, input) => gatherers.get(name)?.add(input);
        yield* this.pass("calibrate", dense, { observe, advance: false });
      }
      const statistics = new Map<LinearName, Statistics>();
      for (const [name, gatherer] of gatherers) {
        statistics.set(name, await gatherer.finish(layerName(layer, name)));
      }
      const layers: PrunedLayer[] = [];
      for (const [i, name] of planned.entries()) {
        yield { phase: "prune", fraction: i / planned.length };
        await pause(this.signal);
        const given = statistics.get(SHARED_INPUT[name]);
        layers.push(await this.pruneLinear(dense, name, given, pruned, open));
      }
      for (const gatherer of gatherers.values()) gatherer.dispose();
      gatherers.clear();

      const denseAdvances = advance && recipe.statistics === "dense";
      if (open.size > 0 || denseAdvances) {
        const observe = this.errorObserver(dense, open);
        yield* this.pass("measure", dense, { observe, advance: denseAdvances });
      }
      if (advance && !denseAdvances) {
        yield* this.pass("advance", withWeights(dense, pruned), { advance: true });
      }
      return await Promise.all(layers.map((layer) => closeError(layer, open)));
    } finally {
      disposeBlock(dense);
      for (const tensor of pruned.values()) tensor.dispose();
      for (const { difference } of open.values()) difference.dispose();
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

  private async pruneLinear(
    block: BlockWeights,
    linear: LinearName,
    given: Statistics | undefined,
    pruned: Map<LinearName, Tensor>,
    open: Map<LinearName, OpenError>,
  ): Promise<PrunedLayer> {
    const { backend, recipe, calibration } = this;
    const name = layerName(block.layer, linear);
    const weightName = `${name}.weight`;
    const { method, options, sparsity } = this.plan.get(name)!;
    const original = denseWeight(block, linear);
    const weight = backend.zeros(original.shape);
    pruned.set(linear, weight);
    backend.copy(original, weight);
    const { samples, length } = calibration;
    const statistics = given ?? { sequences: samples, tokens: samples * length };
    const outcome = await method.prune({ name, weight, statistics, sparsity, backend }, options);
    const bytes = await this.round(weight, this.model.weights.get(weightName)!.dtype);
    const mask = (await backend.read(outcome.mask)) as Uint8Array;
    outcome.mask.dispose();
    let error: number | undefined;
    if (recipe.layerError && statistics.hessian) {
      error = await layerError(backend, original, weight, statistics.hessian);
    } else if (recipe.layerError) {
      const difference = backend.zeros(original.shape);
      backend.ops.subtract(original, weight, difference);
      open.set(linear, { difference, sums: [] });
    }
    const report: LayerReport = {
      name,
      method: method.name,
      sparsity: formatSparsity(sparsity),
      shape: [original.shape[0], original.shape[1]],
      removed: 1 - mask.reduce((sum, kept) => sum + kept, 0) / mask.length,
      layerError: error,
      figures: outcome.figures,
      notes: outcome.notes,
    };
    return { report, weightName, bytes };
  }

  /** Rounds a weight to the dtype that it is stored in, so that what is measured is what is saved. */
  private async round(weight: Tensor, dtype: StoredDType): Promise<Uint8Array> {
    const bytes = await downloadFloats(this.backend, weight, dtype);
    if (dtype === "BF16" || dtype === "F16") {
      const bits = this.backend.upload(new Uint16Array(bytes.buffer), weight.shape);
      this.backend.ops.widen(bits, weight, dtype === "BF16" ? "bf16" : "f16");
      bits.dispose();
    }
    return bytes;
  }

  /** Adds up ||X Dᵀ||² and ||X Wᵀ||² of the layers whose error no Hessian gives. */
  private errorObserver(block: BlockWeights, open: Map<LinearName, OpenError>): LinearObserver {
    const { backend } = this;
    return (name, input) => {
      const error = open.get(name);
      if (!error) return;
      const original = denseWeight(block, name);
      const out = backend.zeros([input.shape[0], original.shape[0]]);
      const energy = (weight: Tensor) => {
        backend.ops.linear(input, weight, out);
        return backend.ops.sumOfSquares(out);
      };
      error.sums.push([energy(error.difference), energy(original)]);
      out.dispose();
    };
  }
}

/** Name of a linear layer, such as "model.layers.3.mlp.up_proj". */
export function layerName(layer: number, linear: LinearName): string {
  return blockTensor(layer, linear);
}

function denseWeight(block: BlockWeights, name: LinearName): Tensor {
  return block.linears[name].weight as Tensor;
}

/** The same block with some linears' weights replaced. */
function withWeights(block: BlockWeights, weights: ReadonlyMap<LinearName, Tensor>): BlockWeights {
  const linears = { ...block.linears };
  for (const [name, weight] of weights) {
    linears[name] = { kind: "dense", weight, bias: linears[name].bias };
  }
  return { ...block, linears };
}

/** Completes a layer's report with the error that a pass measured. */
async function closeError(
  layer: PrunedLayer,
  open: ReadonlyMap<LinearName, OpenError>,
): Promise<PrunedLayer> {
  const linear = LINEAR_NAMES.find((name) => layer.report.name.endsWith(name))!;
  const measured = open.get(linear);
  if (!measured) return layer;
  const totals = [0, 0];
  for (const sums of measured.sums) {
    for (const [i, sum] of (await Promise.all(sums)).entries()) totals[i] += sum;
  }
  const error = totals[1] > 0 ? totals[0] / totals[1] : 0;
  return { ...layer, report: { ...layer.report, layerError: error } };
}
