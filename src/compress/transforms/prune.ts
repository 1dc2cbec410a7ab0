import { lookUp, PenjingError } from "../../errors.js";
import { ANCHOR } from "../../least-squares/anchor.js";
import { REFIT } from "../../least-squares/refit.js";
import type { MethodName } from "../../methods/index.js";
import type { ChoiceSpec, OptionSpecs, SparsitySpec } from "../../options.js";
import type { Registry } from "../../registry.js";
import type { RotationLoss } from "../../rotation.js";
import { formatSparsity, parseSparsity } from "../../sparsity.js";
import { openCompressRegistry } from "../registry.js";
import { type LayerPlan, methodName, statisticsOf } from "../solve.js";
import type { PlanTarget, ReadStep, Transform, TransformKind } from "../transform.js";
import { type LayerWork, LinearSteps, planLayers } from "./linears.js";

/** Descriptions of its options. */
export type PruneSpecs = {
  readonly method: ChoiceSpec & {
    readonly values: readonly (MethodName | (string & {}))[];
    readonly default: string;
    readonly brings: Readonly<Record<string, OptionSpecs>>;
  };
  readonly sparsity: SparsitySpec & { readonly default: string };
} & typeof ANCHOR &
  typeof REFIT;

function optionsOf({ methods }: Registry): PruneSpecs {
  return {
    method: {
      kind: "choice",
      values: Object.keys(methods),
      default: "sparsegpt",
      brings: Object.fromEntries(
        Object.values(methods).map(({ name, options }) => [name, options]),
      ),
      description: "which weights are removed, and what becomes of the others",
    },
    sparsity: {
      kind: "sparsity",
      default: "2:4",
      description: "N:M, N kept of every M inputs of a row, or the share of weights to remove",
    },
    ...ANCHOR,
    ...REFIT,
  };
}

/** Sets weights of the blocks' linears to zero, by the methods that a call knows. */
export function pruneKind(registry: Registry) {
  const planOf = (options: ReadStep["options"]) => layerPlan(options, registry);
  const kind = {
    name: "prune",
    summary: "remove weights of the blocks' linears",
    scope: "linear",
    options: optionsOf(registry),
    leaves: "zeros",
    cannotFollow: {},
    check(options: ReadStep["options"], where: string) {
      const plan = planOf(options);
      const { method, sparsity, refit } = plan;
      const refusal = method.refusal?.(sparsity);
      if (refusal) throw new PenjingError(`${where}: sparsity`, `${method.name} ${refusal}`);
      if (refit > 0 && method.form) {
        throw new PenjingError(
          `${where}: refit`,
          `${method.name} fits what it keeps by itself; leave refit out and give more of its own rounds or iterations.`,
        );
      }
      for (const name of statisticsOf(plan))
        lookUp(registry.statistics, name, `${methodName(method)}: needs`);
    },
    rotationAim(options: ReadStep["options"]) {
      const { method, sparsity } = planOf(options);
      return {
        sparsity,
        importance: (loss: RotationLoss) => method.rotation?.[loss] ?? "magnitude",
      };
    },
    plan: async (
      steps: readonly ReadStep[],
      { spec, layers, rest, before, later }: PlanTarget,
    ): Promise<Transform> => {
      const plan = await planPruning(steps, layers, registry, rest);
      refuseCodes(plan, before);
      const isFollowed = later.some(({ kind }) => kind.scope === "linear");
      return new LinearSteps(spec, plan, "prune", "magnitude", isFollowed);
    },
  } as const satisfies TransformKind;
  return kind;
}

/** Resolved options of the step as those of its method. */
export function layerPlan(
  {
    method,
    sparsity,
    anchor,
    anchorResidual,
    anchorDamping,
    refit,
    ...options
  }: ReadStep["options"],
  { methods }: Registry,
): LayerPlan {
  return {
    method: methods[method as string],
    options,
    sparsity: parseSparsity(sparsity as string),
    anchor: anchor as number,
    anchorResidual: anchorResidual as number,
    anchorDamping: anchorDamping as number,
    refit: refit as number,
  };
}

function pruneWork(registry: Registry): LayerWork {
  return {
    verb: "prune",
    done: "pruned",
    twice: "what is pruned twice loses the first one's zeros",
    planOf(options, name, [, cols]) {
      const layer = layerPlan(options, registry);
      refuseShape(layer, name, cols);
      return layer;
    },
  };
}

/** @throws PenjingError for a layer that is quantized before it is to be pruned */
function refuseCodes(
  plan: ReadonlyMap<string, LayerPlan>,
  before: ReadonlyMap<string, LayerPlan>,
): void {
  const name = [...plan.keys()].find((one) => before.get(one)?.stores);
  if (name === undefined) return;
  throw new PenjingError(
    "prune",
    `${name} is quantized before, and what is left of a grid's weights is not on the grid; prune it first, or let match and ignore keep the two apart.`,
  );
}

/**
 * What pruning steps do with each linear layer, as `planLayers` says.
 *
 * @param registry what the call knows. @default what is built in
 * @throws PenjingError too when an N:M pattern does not divide a layer
 */
export function planPruning(
  steps: readonly ReadStep[],
  layers: ReadonlyMap<string, readonly number[]>,
  registry = openCompressRegistry(),
  rest = async () => {},
): Promise<Map<string, LayerPlan>> {
  return planLayers(steps, layers, pruneWork(registry), rest);
}

/** @throws PenjingError when an N:M pattern does not divide a layer's columns */
export function refuseShape(
  { method, sparsity }: Pick<LayerPlan, "method" | "sparsity">,
  name: string,
  cols: number,
): void {
  if (sparsity.kind !== "n:m" || cols % sparsity.m === 0) return;
  const other = method.removes ? "another pattern" : "an unstructured sparsity such as 50%";
  throw new PenjingError(
    method.name,
    `${name}: its ${cols} inputs are not a multiple of M=${sparsity.m}, which ${formatSparsity(sparsity)} needs; leave it out with \`ignore: "${name}"\` or choose ${other}.`,
  );
}
