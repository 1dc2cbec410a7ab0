import type { Backend } from "./backend.js";
import type { LinearWeight } from "./decoder.js";
import { sandwichNames } from "./extras.js";
import type { PruneOutcome, Statistics } from "./method.js";
import { layerError } from "./prune.js";
import type { LayerPlan } from "./recipe.js";
import { reconstruct } from "./sandwich.js";
import { formatSparsity } from "./sparsity.js";
import type { StoredDType, Tensor } from "./tensor.js";
import { downloadFloats } from "./weights.js";

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
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (fraction: number) => void;
}

/** Prunes one layer and rounds what came out to the dtype that it is saved in. */
export async function pruneLayer(
  backend: Backend,
  options: PruneLayerOptions,
): Promise<PrunedLayer> {
  const { name, original, bias, dtype, plan, statistics, seed, measure } = options;
  const { signal, onProgress } = options;
  const weight = backend.zeros(original.shape);
  const made: Tensor[] = [weight];
  const scratch: Tensor[] = [];
  try {
    backend.copy(original, weight);
    const { sparsity } = plan;
    const problem = { name, weight, statistics, sparsity, backend, seed, signal, onProgress };
    const { mask, sandwich, curve, figures, notes } = await plan.method.prune(
      problem,
      plan.options,
    );
    const kept = (await backend.read(mask)) as Uint8Array;
    mask.dispose();
    const weightName = `${name}.weight`;
    const stored = new Map([[weightName, await round(backend, weight, dtype)]]);
    if (sandwich) {
      made.push(sandwich.left, sandwich.right);
      const names = sandwichNames(weightName);
      stored.set(names.left, await round(backend, sandwich.left, dtype));
      stored.set(names.right, await round(backend, sandwich.right, dtype));
    }
    const effective = sandwich ? reconstruct(backend, weight, sandwich) : weight;
    if (effective !== weight) scratch.push(effective);
    let error: number | undefined;
    let difference: Tensor | undefined;
    if (measure && statistics.hessian) {
      error = await layerError(backend, original, effective, statistics.hessian);
    } else if (measure) {
      difference = backend.zeros(original.shape);
      made.push(difference);
      backend.ops.subtract(original, effective, difference);
    }
    const report: LayerReport = {
      name,
      method: plan.method.name,
      sparsity: formatSparsity(sparsity),
      shape: [original.shape[0], original.shape[1]],
      removed: 1 - kept.reduce((sum, one) => sum + one, 0) / kept.length,
      layerError: error,
      curve,
      figures,
      notes,
    };
    return { report, stored, linear: { kind: "dense", weight, bias, sandwich }, difference };
  } catch (cause) {
    for (const tensor of made) tensor.dispose();
    throw cause;
  } finally {
    for (const tensor of scratch) tensor.dispose();
  }
}

/** Rounds a tensor to a dtype in place, so that what is measured is what is saved; its bytes. */
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
