import { lookUp, PenjingError } from "../../errors.js";
import type { MatrixShape } from "../../form.js";
import { ANCHOR } from "../../least-squares/anchor.js";
import { REFIT } from "../../least-squares/refit.js";
import type { MethodName } from "../../methods/index.js";
import { blockTensor, type DecoderSpec, type Site, sitesOf } from "../../model.js";
import {
  type ChoiceSpec,
  changeOptions,
  type OptionSpecs,
  type SparsitySpec,
} from "../../options.js";
import type { Registry } from "../../registry.js";
import type { RotationLoss } from "../../rotation.js";
import { formatSparsity, parseSparsity } from "../../sparsity.js";
import { disposeStatistics } from "../../statistic.js";
import { openReach } from "../globs.js";
import {
  denseWeight,
  discardPruned,
  type LayerPlan,
  methodName,
  type PrunedLayer,
  pruneLayer,
  statisticsOf,
} from "../layer.js";
import type { Steps } from "../pass.js";
import { openCompressRegistry } from "../registry.js";
import type {
  BlockState,
  Phase,
  PlanTarget,
  ReadStep,
  RunTools,
  Transform,
  TransformKind,
  TransformRun,
} from "../transform.js";

/** Descriptions of its options. */
export type PruneSpecs = {
  readonly method: ChoiceSpec & {
    readonly values: readonly (MethodName | (string & {}))[];
    readonly default: string;
    readonly brings: Readonly<Record<string, OptionSpecs>>;
  };
  readonly sparsity: SparsitySpec;
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
      const plan = await planLayers(steps, layers, registry, rest);
      refuseCodes(plan, before);
      const isFollowed = later.some(({ kind }) => kind.scope === "linear");
      return new Pruning(spec, plan, "prune", isFollowed);
    },
  } as const satisfies TransformKind;
  return kind;
}

/** Resolved options of the step as those of its method. */
export function layerPlan(
  { method, sparsity, anchor, refit, ...options }: ReadStep["options"],
  { methods }: Registry,
): LayerPlan {
  return {
    method: methods[method as string],
    options,
    sparsity: parseSparsity(sparsity as string),
    anchor: anchor as number,
    refit: refit as number,
  };
}

/** What steps of one kind do with a linear layer. */
export interface LayerWork {
  /** As in "nothing is left to prune", and "which a step has pruned before". */
  readonly verb: string;
  readonly done: string;
  /** Why two of them do not act on one layer. */
  readonly twice: string;
  /** @throws PenjingError when the layer does not allow it */
  planOf(options: ReadStep["options"], layer: string, shape: MatrixShape): LayerPlan;
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
 * What pruning steps do with each linear layer; layers that none of them acts on are left out.
 *
 * @param layers name and [outFeatures, inFeatures] of every linear that could be pruned
 * @param registry what the call knows. @default what is built in
 * @param rest called between the layers, to let timers run. @default nothing
 * @param work what the steps do. @default they prune
 * @throws PenjingError when a glob matches nothing, nothing is left to prune, two steps act on one
 *   layer, or an N:M pattern does not divide a layer
 */
export async function planLayers(
  steps: readonly ReadStep[],
  layers: ReadonlyMap<string, readonly number[]>,
  registry = openCompressRegistry(),
  rest = async () => {},
  work = pruneWork(registry),
): Promise<Map<string, LayerPlan>> {
  const plan = new Map<string, LayerPlan>();
  const owners = new Map<string, string>();
  const names = [...layers.keys()];
  const { verb, done, twice } = work;
  for (const { kind, options, reach, where } of steps) {
    const { includes, changes } = await openReach(reach, names, rest);
    const own: string[] = [];
    for (const name of names) {
      await rest();
      if (includes(name)) own.push(name);
    }
    if (own.length === 0) {
      throw new PenjingError("ignore", `every layer is ignored, so nothing is left to ${verb}.`);
    }
    for (const name of own) {
      await rest();
      const other = owners.get(name);
      if (other) {
        throw new PenjingError(
          where,
          `${verb} acts on ${name}, which ${verb} (${other}) has ${done} before it, and ${twice}; let match and ignore keep the two apart.`,
        );
      }
      const changed = changeOptions(
        kind.options,
        options,
        changes(name),
        name,
      ) as ReadStep["options"];
      kind.check?.(changed, name);
      const [rows, cols] = layers.get(name)!;
      plan.set(name, work.planOf(changed, name, [rows, cols]));
      owners.set(name, where);
    }
  }
  return new Map(names.filter((name) => plan.has(name)).map((name) => [name, plan.get(name)!]));
}

function refuseShape({ method, sparsity }: LayerPlan, name: string, cols: number): void {
  if (sparsity.kind !== "n:m" || cols % sparsity.m === 0) return;
  throw new PenjingError(
    method.name,
    `${name}: its ${cols} inputs are not a multiple of M=${sparsity.m}, which ${formatSparsity(sparsity)} needs; leave it out with \`ignore: "${name}"\` or choose an unstructured sparsity such as 50%.`,
  );
}

/** What the phase of a long optimisation weighs in progress, where a pass over the windows weighs 7. */
const TIMED_WEIGHT = 60;

/** Steps of a kind that replace linears one by one: planned, and at work. */
export class Pruning implements Transform {
  readonly changesOuter = false;

  constructor(
    private readonly spec: DecoderSpec,
    readonly layers: ReadonlyMap<string, LayerPlan>,
    /** What it is called in progress events. */
    readonly phase: string,
    /** Whether later steps may replace the same linears once more, and read their dense weights. */
    readonly isFollowed = false,
  ) {}

  get reader(): string | undefined {
    const plans = [...this.layers.values()];
    return plans.find((plan) => statisticsOf(plan).length > 0)?.method.name;
  }

  phases(block: number): { readonly before: Phase[]; readonly after: Phase[] } {
    const isTimed = this.isTimed(block);
    return { before: [], after: [[this.phase, isTimed ? TIMED_WEIGHT : 6, isTimed]] };
  }

  /** The linears of a block that are pruned, in the order in which a forward uses them. */
  planned(block: number): Site[] {
    const sites = sitesOf(this.spec.blocks[block]);
    return sites.filter(({ name }) => this.layers.has(blockTensor(this.spec, block, name)));
  }

  plan(block: number, { name }: Site): LayerPlan {
    return this.layers.get(blockTensor(this.spec, block, name))!;
  }

  isTimed(block: number): boolean {
    return this.planned(block).some((site) => this.plan(block, site).method.isTimed);
  }

  start(tools: RunTools): TransformRun {
    return new PruningRun(this, tools);
  }
}

class PruningRun implements TransformRun {
  /** Inputs whose statistics later steps read. */
  private readonly kept = new Set<string>();

  constructor(
    private readonly pruning: Pruning,
    private readonly tools: RunTools,
  ) {}

  needs(block: number, { name }: Site, later: readonly string[]): string[] {
    const own = this.pruning
      .planned(block)
      .filter(({ input }) => input === name)
      .flatMap((site) => statisticsOf(this.pruning.plan(block, site)));
    if (later.length > 0) this.kept.add(name);
    return [...own, ...later];
  }

  async *apply(state: BlockState, share: number): Steps<void> {
    const { layerError, denseAdvances } = this.tools;
    const { block, statistics, pruned } = state;
    const planned = this.pruning.planned(block.layer);
    // Dense weights run once more only to measure errors that no Hessian gives, or to advance.
    const hasHessian = ({ input }: Site) => statistics.get(input)?.tensors.hessian;
    state.measures ||= layerError && !planned.every(hasHessian);
    const isDone = !denseAdvances && !this.pruning.isFollowed;
    for (const [i, site] of planned.entries()) {
      this.keepOnly(statistics, planned.slice(i));
      const before = pruned.get(site.name);
      pruned.set(site.name, yield* this.pruneOne(state, site, planned, share));
      if (before) discardPruned(before);
      if (!state.measures && isDone) denseWeight(block, site).dispose();
    }
    this.keepOnly(statistics, []);
    this.kept.clear();
  }

  /** Frees the statistics that neither one of the linears needs nor a later step. */
  private keepOnly(statistics: BlockState["statistics"], sites: readonly Site[]): void {
    const inputs = new Set([...this.kept, ...sites.map(({ input }) => input)]);
    for (const [input, gathered] of statistics) {
      if (inputs.has(input)) continue;
      disposeStatistics([gathered]);
      statistics.delete(input);
    }
  }

  /** Prunes one linear; long optimisations tell how far they are and stop with the run. */
  private async *pruneOne(
    { block, statistics, pruned }: BlockState,
    site: Site,
    planned: readonly Site[],
    share: number,
  ): Steps<PrunedLayer> {
    const { model, passes, journal, budget, seed, layerError } = this.tools;
    const name = `${block.name}.${site.name}`;
    const { samples, length } = passes.calibration;
    const at = planned.indexOf(site);
    const size = (one: Site) => {
      const [rows, cols] = one.shape;
      return this.pruning.plan(block.layer, one).method.isTimed ? rows * cols : 0;
    };
    const sizes = (sites: readonly Site[]) => sites.reduce((sum, one) => sum + size(one), 0);
    const left = sizes(planned.slice(at));
    // Long optimisations take their time by the size of the layer; others are short beside them.
    const all = sizes(planned);
    const progress = (fraction: number) =>
      all > 0
        ? (sizes(planned.slice(0, at)) + size(site) * fraction) / all
        : (at + fraction) / planned.length;
    const seconds = size(site) > 0 ? budget.part((share * size(site)) / left) : undefined;
    const work = passes.follow(
      this.pruning.phase,
      progress,
      (signal, onProgress) =>
        pruneLayer(passes.backend, {
          name,
          original: denseWeight(block, site),
          before: pruned.get(site.name),
          bias: block.linears[site.name].bias,
          dtype: model.weights.get(`${name}.weight`)!.dtype,
          plan: this.pruning.plan(block.layer, site),
          statistics: statistics.get(site.input) ?? {
            sequences: samples,
            tokens: samples * length,
            tensors: {},
          },
          seed,
          measure: layerError,
          seconds,
          journal,
          signal,
          onProgress,
        }),
      discardPruned,
    );
    return yield* size(site) > 0 ? budget.time(work) : work;
  }
}
