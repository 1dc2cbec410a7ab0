import type { Backend } from "../backend.js";
import type { BlockWeights, LinearWeight } from "../decoder.js";
import { sandwichNames } from "../extras.js";
import { layerError } from "../layer-error.js";
import type { LinearProblem, PruneOutcome, Statistics } from "../method.js";
import type { AnyMethod } from "../methods/index.js";
import type { LinearName } from "../model.js";
import type { OptionValue } from "../options.js";
import { reconstruct, type Sandwich } from "../sandwich.js";
import type { SnapshotArray } from "../snapshot.js";
import { formatSparsity, type Sparsity } from "../sparsity.js";
import type { StoredDType, Tensor } from "../tensor.js";
import { downloadFloats, uploadFloats } from "../weights.js";
import type { Journal } from "./journal.js";

/** What is done to one linear layer. */
export interface LayerPlan {
  readonly method: AnyMethod;
  readonly options: Readonly<Record<string, OptionValue>>;
  readonly sparsity: Sparsity;
}

/** What one layer became: a line of the report. */
export interface LayerReport {
  readonly name: string;
  readonly method: string;
  readonly sparsity: string;
  /** [outFeatures, inFeatures] */
  readonly shape: readonly [number, number];
  /** Share of the weights that were removed; of a sandwich's core. */
  readonly removed: number;
  /** ||X Wᵀ - X Ŵᵀ||² / ||X Wᵀ||² on the calibration inputs; absent when not measured. */
  readonly layerError?: number;
  /** Iteration and loss of the method's optimisation. */
  readonly curve?: PruneOutcome["curve"];
  /** Figures that the method reports about itself. */
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** A pruned layer as it is run, saved and reported. */
export interface PrunedLayer {
  readonly report: LayerReport;
  /** Logical name and bytes of each tensor to save, in the dtype of the weight. */
  readonly stored: ReadonlyMap<string, Uint8Array>;
  /** What the block runs with from now on; owned by the caller. Shares the dense layer's bias. */
  readonly linear: LinearWeight;
  /** W - Ŵ while the error is still to be measured; owned by the caller. */
  readonly difference?: Tensor;
}

export interface PruneLayerOptions {
  readonly name: string;
  /** [outFeatures, inFeatures]; read only. */
  readonly original: Tensor;
  readonly bias: Tensor | undefined;
  readonly dtype: StoredDType;
  readonly plan: LayerPlan;
  readonly statistics: Statistics;
  readonly seed: number;
  /** Whether the layer's error is wanted. */
  readonly measure: boolean;
  /** Most seconds of optimisation. */
  readonly seconds: number | undefined;
  readonly journal: Journal;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (fraction: number) => void;
}

/** What `solveLayer` needs; the rest is as in `LinearProblem`. */
export type SolveOptions = Pick<
  LinearProblem,
  "name" | "statistics" | "seed" | "seconds" | "keeper" | "signal" | "onProgress"
> &
  Pick<PruneLayerOptions, "original" | "plan">;

/** What a method makes of a layer. */
export interface SolvedLayer {
  readonly weight: Tensor;
  readonly sandwich?: Sandwich;
  /** [outFeatures * inFeatures], 1 = kept. */
  readonly mask: Uint8Array;
  readonly report: LayerReport;
}

/** What pruning a layer gives, before its error is known. */
interface Finished {
  readonly report: LayerReport;
  readonly stored: ReadonlyMap<string, Uint8Array>;
}

/** Names in the journal of a layer's result, and of the state of its optimisation. */
export function layerParts(name: string): readonly [result: string, state: string] {
  return [name, `${name}.state`];
}

/**
 * Prunes one layer, unless the journal has it, and opens what came out as it is rounded to the dtype
 * that it is saved in.
 */
export async function pruneLayer(
  backend: Backend,
  options: PruneLayerOptions,
): Promise<PrunedLayer> {
  const { name, journal } = options;
  const [part, state] = layerParts(name);
  const known = journal.isLasting ? await journal.load(part) : undefined;
  if (known) {
    const report = known.facts.report as LayerReport;
    return openPruned(backend, { report, stored: storedOf(known.arrays) }, options);
  }
  const finished = await prune(backend, options);
  const { report, stored } = finished;
  await journal.save(part, { facts: { report }, arrays: stored });
  await journal.drop([state]);
  return openPruned(backend, finished, options);
}

/** Arrays of a snapshot that were bytes of tensors. */
export function storedOf(arrays: ReadonlyMap<string, SnapshotArray>): Map<string, Uint8Array> {
  return arrays as Map<string, Uint8Array>;
}

/**
 * Prunes one layer as planned. The caller disposes the result's tensors.
 *
 * @throws PenjingError as the method
 */
export async function solveLayer(
  backend: Backend,
  { original, plan, ...problem }: SolveOptions,
): Promise<SolvedLayer> {
  const { method, sparsity, options } = plan;
  const weight = backend.zeros(original.shape);
  let outcome: PruneOutcome | undefined;
  try {
    backend.copy(original, weight);
    outcome = await method.prune({ ...problem, weight, sparsity, backend }, options);
    const { sandwich, curve, figures, notes } = outcome;
    const mask = (await backend.read(outcome.mask)) as Uint8Array;
    const report: LayerReport = {
      name: problem.name,
      method: method.name,
      sparsity: formatSparsity(sparsity),
      shape: [original.shape[0], original.shape[1]],
      removed: 1 - mask.reduce((sum, one) => sum + one, 0) / mask.length,
      curve,
      figures,
      notes,
    };
    return { weight, sandwich, mask, report };
  } catch (error) {
    disposeSolved({ weight, sandwich: outcome?.sandwich });
    throw error;
  } finally {
    outcome?.mask.dispose();
  }
}

type Weights = Pick<SolvedLayer, "weight" | "sandwich">;

export function disposeSolved({ weight, sandwich }: Weights): void {
  for (const tensor of [weight, sandwich?.left, sandwich?.right]) tensor?.dispose();
}

/** W' of y = x W'ᵀ: the weight itself, or a new tensor of its product with factors. */
export function effectiveWeight(backend: Backend, { weight, sandwich }: Weights): Tensor {
  return sandwich ? reconstruct(backend, weight, sandwich) : weight;
}

async function prune(backend: Backend, options: PruneLayerOptions): Promise<Finished> {
  const { name, original, dtype, plan, statistics, seed, signal, onProgress, seconds } = options;
  const keeper = options.journal.keeper(layerParts(name)[1]);
  const problem = { name, original, plan, statistics, seed, seconds, keeper, signal, onProgress };
  const solved = await solveLayer(backend, problem);
  const { weight, sandwich, report } = solved;
  try {
    const weightName = `${name}.weight`;
    const names = sandwichNames(weightName);
    const stored = new Map([[weightName, await downloadFloats(backend, weight, dtype)]]);
    if (sandwich) {
      stored.set(names.left, await downloadFloats(backend, sandwich.left, dtype));
      stored.set(names.right, await downloadFloats(backend, sandwich.right, dtype));
    }
    return { report, stored };
  } finally {
    disposeSolved(solved);
  }
}

/** Puts a pruned layer on the backend, rounded as it is saved, and measures its error. */
async function openPruned(
  backend: Backend,
  { report, stored }: Finished,
  { name, original, bias, dtype, plan, statistics, measure, signal }: PruneLayerOptions,
): Promise<PrunedLayer> {
  const made: Tensor[] = [];
  const scratch: Tensor[] = [];
  const open = (tensorName: string, shape: readonly number[]) => {
    const tensor = uploadFloats(
      backend,
      { name: tensorName, dtype, shape },
      stored.get(tensorName)!,
    );
    made.push(tensor);
    return tensor;
  };
  try {
    const weightName = `${name}.weight`;
    const [rows, cols] = report.shape;
    const weight = open(weightName, [rows, cols]);
    const blocks = plan.method.sandwichBlocks?.(rows, cols, plan.options);
    const names = sandwichNames(weightName);
    const sandwich: Sandwich | undefined = blocks && {
      left: open(names.left, [rows / blocks.left, blocks.left, blocks.left]),
      right: open(names.right, [cols / blocks.right, blocks.right, blocks.right]),
    };
    const linear: LinearWeight = { kind: "dense", weight, bias, sandwich };
    if (!measure) return { report, stored, linear };
    const effective = effectiveWeight(backend, { weight, sandwich });
    if (effective !== weight) scratch.push(effective);
    if (statistics.hessian) {
      const error = await layerError(backend, original, effective, statistics.hessian, signal);
      return { report: { ...report, layerError: error }, stored, linear };
    }
    const difference = backend.zeros(original.shape);
    made.push(difference);
    backend.ops.subtract(original, effective, difference);
    return { report, stored, linear, difference };
  } catch (cause) {
    for (const tensor of made) tensor.dispose();
    throw cause;
  } finally {
    for (const tensor of scratch) tensor.dispose();
  }
}

/** Frees what a pruned layer owns. */
export function discardPruned({ linear: { weight, sandwich }, difference }: PrunedLayer): void {
  for (const made of [weight, sandwich?.left, sandwich?.right, difference]) made?.dispose();
}

export function denseWeight(block: BlockWeights, name: LinearName): Tensor {
  return block.linears[name].weight as Tensor;
}

/** Rounds a tensor to a dtype in place, so that what is run is what is saved; its bytes. */
export async function round(
  backend: Backend,
  tensor: Tensor,
  dtype: StoredDType,
): Promise<Uint8Array> {
  const bytes = await downloadFloats(backend, tensor, dtype);
  if (dtype === "BF16" || dtype === "F16") {
    const bits = backend.upload(new Uint16Array(bytes.buffer), tensor.shape);
    backend.ops.widen(bits, tensor, dtype === "BF16" ? "bf16" : "f16");
    bits.dispose();
  }
  return bytes;
}
