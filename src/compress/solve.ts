/** What a linear becomes on a backend: its target, its method, and the fit afterwards. */
import type { Backend } from "../backend.js";
import { decode } from "../decode.js";
import { type Form, partsIn } from "../form.js";
import { layerError } from "../layer-error.js";
import type { DensePeer } from "../layouts/two-four-int.js";
import { anchoredTarget } from "../least-squares/anchor.js";
import { refit } from "../least-squares/refit.js";
import type { AnyMethod, LinearProblem, PruneOutcome } from "../method.js";
import type { FormTree } from "../models/stored-forms.js";
import type { OptionValue } from "../options.js";
import { checkOutcome } from "../outcome.js";
import type { Brought } from "../plugin.js";
import { countKept, formatSparsity, type Sparsity } from "../sparsity.js";
import type { Tensor } from "../tensor.js";
import { keptLeaf } from "./kept-codes.js";

/** All codes, those alone that 2:4 keeps (layouts/two-four-int.ts), or the values that codes stand for. */
export type Stores = "codes" | "kept codes" | "values";

/** What is done to one linear layer. */
export interface LayerPlan {
  readonly method: AnyMethod;
  readonly options: Readonly<Record<string, OptionValue>>;
  readonly sparsity: Sparsity;
  /** Of quantizers: what is stored. */
  readonly stores?: Stores | undefined;
  /** As `ANCHOR` says. */
  readonly anchor: number;
  /** As `ANCHOR` says, for a linear that adds to the residual stream; over the factor that it adds with. */
  readonly anchorResidual: number;
  /** As `ANCHOR` says; read where one of those two is above 0. */
  readonly anchorDamping: number;
  /** As `REFIT` says. */
  readonly refit: number;
}

/** Names of the statistics that a plan reads. */
export function statisticsOf(plan: LayerPlan): string[] {
  const { method, options, anchor, anchorResidual, refit } = plan;
  return [
    ...method.needs(options),
    ...(anchor > 0 ? ["hessian", "crossMoment"] : []),
    ...(anchorResidual > 0 ? ["hessian", "residualMoment"] : []),
    ...(refit > 0 ? ["hessian"] : []),
  ];
}

/** The option that gives a layer another target than its weight; undefined where none does. */
export function anchorOf({
  anchor,
  anchorResidual,
}: Pick<LayerPlan, "anchor" | "anchorResidual">): "anchor" | "anchorResidual" | undefined {
  if (anchor > 0) return "anchor";
  return anchorResidual > 0 ? "anchorResidual" : undefined;
}

/** What one layer became: a line of the report. */
export interface LayerReport {
  readonly name: string;
  readonly method: string;
  readonly sparsity: string;
  /** [outFeatures, inFeatures] */
  readonly shape: readonly [number, number];
  /** How the weight is held and what its tensors are called; absent where it is one, the weight. */
  readonly form?: FormTree | undefined;
  /** Share of the weights that were removed; of a product's core. */
  readonly removed: number;
  /** Bits that a quantized weight takes as it is stored, scales and zero points included. */
  readonly bitsPerWeight?: number | undefined;
  /** Of 2:4 weights on a grid: the dense one that takes as many bits, or next fewer. */
  readonly peer?: DensePeer | undefined;
  /** ||X Wᵀ - X Ŵᵀ||² / ||X Wᵀ||² on the calibration inputs; absent when not measured. */
  readonly layerError?: number | undefined;
  /** Iteration and loss of the method's optimisation. */
  readonly curve?: readonly (readonly [iteration: number, proxy: number])[] | undefined;
  /** Figures that the method reports about itself. */
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** What `solveLayer` needs; the rest is as in `LinearProblem`. */
export type SolveOptions = Pick<
  LinearProblem,
  | "name"
  | "statistics"
  | "mask"
  | "scaleType"
  | "seed"
  | "seconds"
  | "keeper"
  | "signal"
  | "onProgress"
> & {
  /** [outFeatures, inFeatures]; the layer is solved in it where nothing reads it any more, and it is freed. */
  readonly original: Tensor;
  /** What an earlier step made of it, which the method begins with; read only. @default nothing */
  readonly before?: Tensor | undefined;
  /** Whether nothing reads the statistics afterwards: what only the target is made of is freed. @default false */
  readonly isLast?: boolean | undefined;
  readonly plan: LayerPlan;
};

/** What a method makes of a layer. */
export interface SolvedLayer {
  /** [outFeatures, inFeatures], the dense part of `form` where there is one. */
  readonly weight: Tensor;
  readonly form?: Form | undefined;
  /** [outFeatures * inFeatures], 1 = kept. */
  readonly mask: Uint8Array;
  readonly report: LayerReport;
}

/**
 * Prunes one layer as planned. The caller disposes the result's tensors.
 *
 * @throws PenjingError as the method
 */
export async function solveLayer(
  backend: Backend,
  { original, before, isLast, plan, ...problem }: SolveOptions,
): Promise<SolvedLayer> {
  const { method, sparsity, options } = plan;
  const target = await targetOf(backend, { original, plan, ...problem }).catch((error) => {
    original.dispose();
    throw error;
  });
  if (target !== original) original.dispose();
  if (isLast) {
    const isRead = (name: string) => name === "hessian" || method.needs(options).includes(name);
    for (const [name, tensor] of Object.entries(problem.statistics.tensors)) {
      if (!isRead(name)) tensor.dispose();
    }
  }
  const isReadLater = before !== undefined || plan.refit > 0 || anchorOf(plan) !== undefined;
  const weight = isReadLater ? backend.zeros(target.shape) : target;
  let outcome: PruneOutcome | undefined;
  try {
    if (isReadLater) backend.copy(before ?? target, weight);
    const aim = before && { target };
    const made = await method.prune({ ...problem, ...aim, weight, sparsity, backend }, options);
    const shape = [weight.shape[0], weight.shape[1]] as const;
    const promised = method.form?.(shape, options);
    checkOutcome(made, shape, methodName(method), problem.name, promised);
    outcome = made;
    const { curve, notes } = outcome;
    const fitted = await fit(backend, { target, weight, outcome, plan, ...problem });
    const figures = { ...outcome.figures, ...fitted };
    const mask = (await backend.read(outcome.mask)) as Uint8Array;
    const form = await formIn(backend, outcome, plan, mask);
    const report: LayerReport = {
      name: problem.name,
      method: method.name,
      sparsity: formatSparsity(sparsity),
      shape,
      removed: 1 - countKept(mask) / mask.length,
      curve,
      figures,
      notes,
    };
    return { weight, form, mask, report };
  } catch (error) {
    disposeSolved({ weight, form: outcome?.form });
    throw error;
  } finally {
    outcome?.mask.dispose();
    if (target !== weight) target.dispose();
  }
}

/**
 * The form that is stored. That of a grid is left out where the values are stored that it stands for, and holds
 * what the mask keeps where that alone is.
 */
async function formIn(
  backend: Backend,
  { form }: PruneOutcome,
  { stores }: LayerPlan,
  mask: Uint8Array,
): Promise<Form | undefined> {
  if (form?.kind === "leaf" && stores === "kept codes") return keptLeaf(backend, form, mask);
  if (!form || stores !== "values") return form;
  for (const tensor of partsIn(form)) tensor.dispose();
  return undefined;
}

/** What a layer is to compute: its weight, or what makes up for its inputs. */
async function targetOf(
  backend: Backend,
  { name, original, plan, statistics, signal }: SolveOptions,
): Promise<Tensor> {
  const { anchor, anchorResidual, anchorDamping } = plan;
  if (!anchorOf(plan)) return original;
  const { hessian, crossMoment, residualMoment } = statistics.tensors;
  return anchoredTarget(backend, {
    ...{ name, weight: original, hessian, signal },
    ...{ crossMoment, anchor, residualMoment, anchorResidual, anchorDamping },
  });
}

/** Fits what was kept to the target, where that is asked for. What it did, for the report. */
async function fit(
  backend: Backend,
  {
    target,
    weight,
    outcome,
    plan,
    statistics,
    signal,
  }: Omit<SolveOptions, "original"> & {
    readonly target: Tensor;
    readonly weight: Tensor;
    readonly outcome: PruneOutcome;
  },
): Promise<Record<string, number>> {
  const { hessian } = statistics.tensors;
  const { refit: iterations } = plan;
  const figures: Record<string, number> = {};
  const errorNow = async () => {
    const effective = outcome.form ? await decode(backend, outcome.form) : weight;
    try {
      return await layerError(backend, target, effective, hessian, signal);
    } finally {
      if (outcome.form) effective.dispose();
    }
  };
  if (iterations > 0) {
    figures.errorBeforeRefit = await errorNow();
    const { mask } = outcome;
    await refit(backend, { weight, mask, target, hessian, iterations, signal });
    figures.errorAfterRefit = await errorNow();
  }
  if (anchorOf(plan)) figures.anchoredError = figures.errorAfterRefit ?? (await errorNow());
  return figures;
}

/** What messages call a method. */
export function methodName({ name, plugin }: Brought<AnyMethod>): string {
  return plugin ? `plug-in ${plugin.name}: method ${name}` : name;
}

export function disposeSolved({ weight, form }: Pick<SolvedLayer, "weight" | "form">): void {
  for (const tensor of [weight, ...(form ? partsIn(form) : [])]) tensor.dispose();
}
