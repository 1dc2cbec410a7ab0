/** What the kinds of steps share that replace linears one by one. */
import { PenjingError } from "../../errors.js";
import type { MatrixShape } from "../../form.js";
import {
  type BlockSpec,
  blockTensor,
  type DecoderSpec,
  residualFactors,
  type Site,
  sitesOf,
} from "../../model.js";
import { changeOptions } from "../../options.js";
import { disposeStatistics } from "../../statistic.js";
import { openReach } from "../globs.js";
import { discardPruned, openDense, type PrunedLayer, pruneLayer, withPruned } from "../layer.js";
import type { Steps } from "../pass.js";
import { anchorOf, type LayerPlan, statisticsOf } from "../solve.js";
import type {
  BlockState,
  Phase,
  Reader,
  ReadStep,
  RunTools,
  Transform,
  TransformRun,
} from "../transform.js";

/** What steps of one kind do with a linear layer. */
export interface LayerWork {
  /** As in "nothing is left to prune", and "which a step has pruned before". */
  readonly verb: string;
  readonly done: string;
  /** Why two of them do not act on one layer. */
  readonly twice: string;
  /** Whether a step has work elsewhere, so that it may leave all layers out. @default it has not */
  actsElsewhere?(options: ReadStep["options"]): boolean;
  /** @throws PenjingError when the layer does not allow it */
  planOf(options: ReadStep["options"], layer: string, shape: MatrixShape): LayerPlan;
}

/**
 * What steps of one kind do with each linear layer; layers that none of them acts on are left out.
 *
 * @param layers name and [outFeatures, inFeatures] of every linear that could be replaced
 * @param work what the steps do
 * @param rest called between the layers, to let timers run. @default nothing
 * @throws PenjingError when a glob matches nothing, nothing is left to do, two steps act on one
 *   layer, or a layer does not allow it
 */
export async function planLayers(
  steps: readonly ReadStep[],
  layers: ReadonlyMap<string, readonly number[]>,
  work: LayerWork,
  rest = async () => {},
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
    if (own.length === 0 && !work.actsElsewhere?.(options)) {
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

/** What the phase of a long optimisation weighs in progress, where a pass over the windows weighs 7. */
const TIMED_WEIGHT = 60;

/** Steps of a kind that replace linears one by one: planned, and at work. */
export class LinearSteps implements Transform {
  readonly changesOuter: boolean = false;

  constructor(
    protected readonly spec: DecoderSpec,
    readonly layers: ReadonlyMap<string, LayerPlan>,
    /** What it is called in progress events. */
    readonly phase: string,
    /** A method of the kind that reads no inputs. */
    private readonly unread: string,
    /** Whether later steps may replace the same linears once more, and read their dense weights. */
    readonly isFollowed = false,
  ) {}

  get reader(): Reader | undefined {
    const plan = [...this.layers.values()].find((one) => statisticsOf(one).length > 0);
    if (!plan) return undefined;
    const { method, options } = plan;
    if (method.needs(options).length > 0) {
      return { name: method.name, cure: `take a method that needs none, such as ${this.unread}` };
    }
    return { name: anchorOf(plan) ?? "refit", cure: "leave it out" };
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

  /** What is done with a linear, `anchorResidual` as it adds to the residual stream. */
  plan(block: number, { name }: Site): LayerPlan {
    const plan = this.layers.get(blockTensor(this.spec, block, name))!;
    if (plan.anchorResidual === 0) return plan;
    const factor = residualFactors(this.spec.blocks[block]).get(name);
    return { ...plan, anchorResidual: factor ? plan.anchorResidual / factor : 0 };
  }

  isTimed(block: number): boolean {
    return this.planned(block).some((site) => this.plan(block, site).method.isTimed);
  }

  start(tools: RunTools): TransformRun {
    return new LinearRun(this, tools);
  }
}

/** Values that the Hessians of a block may have for each that its weights have, to measure errors by. */
const HESSIAN_SHARE = 1.5;

/**
 * Whether errors are measured by Hessians, which takes a fraction of the time that products of all
 * inputs take, where the Hessians of a block find room.
 */
function hessiansFit(block: BlockSpec): boolean {
  const sum = (sizes: readonly number[]) => sizes.reduce((all, size) => all + size, 0);
  const sites = sitesOf(block);
  const inputs = sites.filter(({ name, input }) => name === input);
  const weights = sum(sites.map(({ shape: [rows, cols] }) => rows * cols));
  return sum(inputs.map(({ shape: [, cols] }) => cols ** 2)) <= HESSIAN_SHARE * weights;
}

class LinearRun implements TransformRun {
  /** Inputs whose statistics later steps read. */
  private readonly kept = new Set<string>();

  constructor(
    private readonly steps: LinearSteps,
    private readonly tools: RunTools,
  ) {}

  needs(block: number, { name }: Site, later: readonly string[]): string[] {
    if (later.length > 0) this.kept.add(name);
    const isLater = this.tools.followsReplaced?.(block, name);
    return [...(isLater ? [] : this.ownNeeds(block, name)), ...later];
  }

  /** What the step reads of an input itself, and what tells the errors of the linears there. */
  private ownNeeds(block: number, input: string): string[] {
    const planned = this.steps.planned(block).filter((site) => site.input === input);
    if (planned.length === 0) return [];
    const read = planned.flatMap((site) => statisticsOf(this.steps.plan(block, site)));
    const { model, layerError } = this.tools;
    const tells = layerError && hessiansFit(model.spec.blocks[block]);
    return tells ? [...read, "hessian"] : read;
  }

  async *apply(state: BlockState, share: number): Steps<void> {
    const { layerError, denseAdvances, denseWaits, followsReplaced } = this.tools;
    const { block, statistics, pruned } = state;
    const planned = this.steps.planned(block.layer);
    // Dense weights run once more only to measure errors that no Hessian gives, or to advance.
    const hasHessian = ({ input }: Site) =>
      this.ownNeeds(block.layer, input).includes("hessian") ||
      statistics.get(input)?.tensors.hessian;
    state.measures ||= layerError && !planned.every(hasHessian);
    const isDone = !denseAdvances && !this.steps.isFollowed && !denseWaits;
    for (const [i, site] of planned.entries()) {
      this.keepOnly(statistics, planned.slice(i));
      const isNext = site.input !== planned[i - 1]?.input;
      if (isNext && followsReplaced?.(block.layer, site.input)) {
        yield* this.gatherAnew(state, site.input, i / planned.length);
      }
      const before = pruned.get(site.name);
      const { weight } = block.linears[site.name];
      const isSpent = !state.measures && isDone;
      // One that is read anew to be solved need not wait until then.
      if (isSpent && !("dtype" in weight)) weight.dispose();
      pruned.set(site.name, yield* this.pruneOne(state, site, planned, share));
      if (before) discardPruned(before);
      if (isSpent) weight.dispose();
    }
    this.keepOnly(statistics, []);
    this.kept.clear();
  }

  /** Gathers what goes into some linears now that those before them in the block are replaced. */
  private async *gatherAnew(
    { block, statistics, pruned }: BlockState,
    input: string,
    fraction: number,
  ): Steps<void> {
    const own = this.ownNeeds(block.layer, input);
    if (own.length === 0) return;
    const needs = new Map([[input, new Set(own)]]);
    const options = { advance: false, denseBlock: block };
    const gathered = yield* this.tools.passes.gather(
      this.steps.phase,
      withPruned(block, pruned),
      needs,
      options,
      () => fraction,
    );
    const before = statistics.get(input);
    if (before) disposeStatistics([before]);
    statistics.set(input, gathered.get(input)!);
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
    const { model, passes, journal, budget, seed, layerError, ride } = this.tools;
    const name = `${block.name}.${site.name}`;
    const { samples, length } = passes.calibration;
    const at = planned.indexOf(site);
    const size = (one: Site) => {
      const [rows, cols] = one.shape;
      return this.steps.plan(block.layer, one).method.isTimed ? rows * cols : 0;
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
    const { backend } = passes;
    const gathered = statistics.get(site.input);
    const home = gathered && passes.homeOf(site, block.spec, Object.keys(gathered.tensors));
    const given = {
      ...{ name, home },
      before: pruned.get(site.name),
      bias: block.linears[site.name].bias,
      dtype: model.weights.get(`${name}.weight`)!.dtype,
      plan: this.steps.plan(block.layer, site),
      isLast:
        !this.kept.has(site.input) &&
        !planned.slice(at + 1).some(({ input }) => input === site.input),
      statistics: gathered ?? {
        sequences: samples,
        tokens: samples * length,
        tensors: {},
      },
      fewestTokens: Math.min(length, ride?.calibration.length ?? length),
      ...{ seed, measure: layerError, seconds, journal },
    };
    const work = passes.follow(
      this.steps.phase,
      progress,
      (signal, onProgress) =>
        pruneLayer(backend, {
          ...{ ...given, signal, onProgress },
          dense: () => openDense(model, { backend, home }, block, site, signal),
        }),
      discardPruned,
    );
    return yield* size(site) > 0 ? budget.time(work) : work;
  }
}
