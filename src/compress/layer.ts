import type { Backend } from "../backend.js";
import type { LinearWeight } from "../decoder.js";
import { sandwichNames } from "../extras.js";
import { layerError } from "../layer-error.js";
import type { TensorEntry } from "../layout.js";
import type { PruneOutcome, Statistics } from "../method.js";
import type { LayerPlan } from "../recipe.js";
import { reconstruct, type Sandwich } from "../sandwich.js";
import type { Snapshot } from "../snapshot.js";
import { formatSparsity } from "../sparsity.js";
import type { StoredDType, Tensor } from "../tensor.js";
import { downloadFloats, uploadFloats } from "../weights.js";
import type { Journal } from "./journal.js";
import type { FinishedTensor } from "./unit.js";

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
  /** Each tensor to save, in the dtype of the weight, by its logical name. */
  readonly stored: readonly FinishedTensor[];
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

/** What pruning a layer gives, before its error is known. */
interface Finished {
  readonly report: LayerReport;
  readonly stored: readonly FinishedTensor[];
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
    const { report, entries } = known.facts as { report: LayerReport; entries: TensorEntry[] };
    const stored = entries.map((entry) => ({ ...entry, bytes: bytesIn(known, entry.name) }));
    return openPruned(backend, { report, stored }, options);
  }
  const finished = await prune(backend, options);
  const { report, stored } = finished;
  const entries = stored.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const arrays = new Map(stored.map((tensor) => [tensor.name, tensor.bytes]));
  await journal.save(part, { facts: { report, entries }, arrays });
  await journal.drop([state]);
  return openPruned(backend, finished, options);
}

function bytesIn({ arrays }: Snapshot, name: string): Uint8Array {
  return arrays.get(name) as Uint8Array;
}

async function prune(backend: Backend, options: PruneLayerOptions): Promise<Finished> {
  const { name, original, dtype, plan, statistics, seed, signal, onProgress, seconds } = options;
  const { method, sparsity } = plan;
  const weight = backend.zeros(original.shape);
  const made: Tensor[] = [weight];
  try {
    backend.copy(original, weight);
    const keeper = options.journal.keeper(layerParts(name)[1]);
    const { mask, sandwich, curve, figures, notes } = await method.prune(
      { name, weight, statistics, sparsity, backend, seed, seconds, keeper, signal, onProgress },
      plan.options,
    );
    made.push(mask);
    if (sandwich) made.push(sandwich.left, sandwich.right);
    const kept = (await backend.read(mask)) as Uint8Array;
    const weightName = `${name}.weight`;
    const names = sandwichNames(weightName);
    const finish = async (tensorName: string, tensor: Tensor): Promise<FinishedTensor> => ({
      ...{ name: tensorName, dtype, shape: tensor.shape },
      bytes: await downloadFloats(backend, tensor, dtype),
    });
    const stored = [await finish(weightName, weight)];
    if (sandwich) {
      stored.push(await finish(names.left, sandwich.left));
      stored.push(await finish(names.right, sandwich.right));
    }
    const report: LayerReport = {
      name,
      method: method.name,
      sparsity: formatSparsity(sparsity),
      shape: [original.shape[0], original.shape[1]],
      removed: 1 - kept.reduce((sum, one) => sum + one, 0) / kept.length,
      curve,
      figures,
      notes,
    };
    return { report, stored };
  } finally {
    for (const tensor of made) tensor.dispose();
  }
}

/** Puts a pruned layer on the backend, rounded as it is saved, and measures its error. */
async function openPruned(
  backend: Backend,
  { report, stored }: Finished,
  { name, original, bias, statistics, measure, signal }: PruneLayerOptions,
): Promise<PrunedLayer> {
  const made: Tensor[] = [];
  const scratch: Tensor[] = [];
  const open = (tensorName: string) => {
    const finished = stored.find((one) => one.name === tensorName)!;
    const tensor = uploadFloats(backend, finished, finished.bytes);
    made.push(tensor);
    return tensor;
  };
  try {
    const weightName = `${name}.weight`;
    const weight = open(weightName);
    const names = sandwichNames(weightName);
    const sandwich: Sandwich | undefined =
      stored.length > 1 ? { left: open(names.left), right: open(names.right) } : undefined;
    const linear: LinearWeight = { kind: "dense", weight, bias, sandwich };
    if (!measure) return { report, stored, linear };
    const effective = sandwich ? reconstruct(backend, weight, sandwich) : weight;
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
