import type { Backend } from "../backend.js";
import { inputRotation, OUTPUT_ROTATION } from "../extras.js";
import { attentionOf, type Site, sitesOf } from "../model.js";
import { type BlockWeights, disposeBlock } from "../models/decoder.js";
import { loadBlock } from "../models/load.js";
import type { StoredModel } from "../models/stored.js";
import { momentColumns, rotationMoments } from "../rotation/moments.js";
import { optimiseRotation } from "../rotation/optimise.js";
import { resolveRotation } from "../rotation/options.js";
import type { BlockGroup } from "../rotation/scope.js";
import {
  type Concentration,
  isTurned,
  type RotationMoments,
  type RotationObjective,
  type RotationOptions,
  type RotationOutcome,
  type RotationProblem,
  type RotationSource,
  rotatedInputs,
} from "../rotation.js";
import { disposeStatistics, type Statistics } from "../statistic.js";
import type { StoredDType, Tensor } from "../tensor.js";
import type { Budget } from "./budget.js";
import type { Journal } from "./journal.js";
import { round } from "./layer.js";
import { foldOuter } from "./outer.js";
import type { Passes, Steps } from "./pass.js";
import { applyRotation, foldNorms, needsWithRotation, rotationProblem } from "./rotate.js";
import type { BlockState, OuterOutcome, RunTools, TransformRun } from "./transform.js";
import type { UnitWriter } from "./unit.js";

/** The rotation that a group of blocks shares. */
interface GroupRotation extends BlockGroup {
  /** Undefined where heads alone are turned. */
  readonly q: Tensor | undefined;
  /** One for each block of the group. */
  readonly r2: readonly Tensor[];
  readonly notes: readonly string[];
  readonly concentrations: readonly Concentration[];
  readonly curve: readonly number[];
}

const whole = (fraction: number) => fraction;

function dispose(tensors: Iterable<Tensor | undefined>): void {
  for (const tensor of tensors) tensor?.dispose();
}

/**
 * Finds and applies the rotations of a model's blocks, in order. Where several blocks share one Q, a
 * survey runs them dense before the first is pruned; their statistics stay in the journal and their
 * weights are loaded anew at each step, so that never more than one block is on the backend.
 */
export class Rotator implements TransformRun {
  private readonly backend: Backend;
  private readonly passes: Passes;
  private readonly model: StoredModel;
  private readonly journal: Journal;
  private readonly budget: Budget;
  private readonly objective: RotationObjective;
  private readonly headsOnly: boolean;
  private group: GroupRotation | undefined;
  /** What is gathered of a block's inputs once it is rotated. */
  private readonly gatheredAfter = new Map<string, ReadonlySet<string>>();
  /** From the coordinates of the last group back to the unrotated ones. */
  private wayBack: Tensor | undefined;

  /**
   * @param groups runs of blocks that share one Q
   * @param isFolded whether what stands around the blocks is turned too, so that no turn is stored
   */
  constructor(
    { passes, model, journal, budget }: RunTools,
    private readonly groups: readonly BlockGroup[],
    private readonly options: RotationOptions & { readonly objective: RotationObjective },
    private readonly isFolded: boolean,
  ) {
    this.backend = passes.backend;
    this.passes = passes;
    this.model = model;
    this.journal = journal;
    this.budget = budget;
    this.objective = options.objective;
    this.headsOnly = options.headsOnly ?? false;
  }

  private groupOf(layer: number): BlockGroup {
    return this.groups.find(({ end }) => layer < end)!;
  }

  /** Names in the journal of what all blocks of a block's group need. */
  partsOf(layer: number): readonly string[] {
    return this.journal.isLasting ? [rotationPart(this.groupOf(layer))] : [];
  }

  needs(layer: number, input: Site, later: readonly string[]): readonly string[] {
    const { headsOnly, model, objective, passes } = this;
    const scored = rotatedInputs(model.spec.blocks[layer], headsOnly, this.options.loss);
    const isScored = objective !== "magnitude" && scored.some(({ name }) => name === input.name);
    const search = isScored ? ["hessian"] : [];
    const { before, after } = needsWithRotation(input, later, search, passes.known, headsOnly);
    if (after.length > 0) this.gatheredAfter.set(input.name, new Set(after));
    return before;
  }

  /**
   * Gets ready for a block: loads what was found before, or surveys and searches when the block is
   * the first of several that share a Q.
   */
  async *begin(layer: number, share: number): Steps<void> {
    this.gatheredAfter.clear();
    const { first, end } = this.groupOf(layer);
    const sought = first === layer ? end - first : 1;
    const seconds = this.budget.part(share, sought);
    yield* this.budget.time(this.open({ first, end }, seconds));
  }

  private async *open({ first, end }: BlockGroup, seconds: number | undefined): Steps<void> {
    if (this.group?.first !== first) await this.leave(first);
    if (this.group || end === first + 1) return;
    yield* this.survey({ first, end });
    const sources = Array.from({ length: end - first }, (_, i) => this.source(first + i));
    yield* this.search({ first, end }, sources, seconds);
    this.journal.drop(sources.map((_, i) => momentsPart(first + i)));
  }

  async prepare(block: BlockWeights): Promise<void> {
    if (!this.headsOnly) await foldNorms(this.backend, block);
  }

  /** Rotates a block that was prepared, and its statistics, in place. */
  async *apply(state: BlockState, share: number): Steps<void> {
    yield* this.budget.time(this.rotate(state, this.budget.part(share)));
    await this.store(state);
  }

  private async *rotate(state: BlockState, seconds: number | undefined): Steps<void> {
    const { backend } = this;
    const { block, statistics, notes } = state;
    const { layer } = block;
    if (!this.group) {
      const problem = rotationProblem(backend, block, { statistics });
      yield* this.search({ first: layer, end: layer + 1 }, [problem], seconds);
    }
    const { first, q, r2, notes: found, concentrations, curve } = this.group!;
    const { known, signal } = this.passes;
    const rotation = { q, r2: r2[layer - first], heads: attentionOf(block.spec) };
    Object.assign(state, await applyRotation(backend, block, statistics, rotation, known, signal));
    yield* this.gatherAfter(state);
    const own = concentrations.filter((one) => one.block === layer - first);
    state.rotations.push({
      concentrations: own.map(({ block: _, ...concentration }) => concentration),
      ...(layer === first && { curve }),
    });
    if (layer !== first) return;
    const where = `${block.name}.rotation`;
    notes.push(...found.map((message) => ({ where, message })));
  }

  /** Gathers from the rotated block what tells nothing of turned inputs. */
  private async *gatherAfter({ block, statistics }: BlockState): Steps<void> {
    if (this.gatheredAfter.size === 0) return;
    const options = { advance: false };
    const gathered = yield* this.passes.gather("calibrate", block, this.gatheredAfter, options);
    for (const [input, after] of gathered) {
      const before = statistics.get(input)?.tensors;
      statistics.set(input, { ...after, tensors: { ...before, ...after.tensors } });
    }
  }

  /**
   * What a rotation changes beside the linears that later steps replace: the others, biases and folded
   * norms, rounded as they are saved, and the turn from the last group's coordinates to this one's.
   */
  private async store({ block, replaced, tensors }: BlockState): Promise<void> {
    const { backend, model } = this;
    const { layer, name: own, spec, norms, linears } = block;
    const store = async (name: string, tensor: Tensor, dtype: StoredDType) => {
      const bytes = await round(backend, tensor, dtype);
      tensors.push({ name, dtype, shape: tensor.shape, bytes });
    };
    const update = (tail: string, tensor: Tensor) => {
      const name = `${own}.${tail}`;
      return store(name, tensor, model.weights.get(name)!.dtype);
    };
    for (const { before } of spec.branches) {
      if (before && !this.headsOnly) await update(`${before.name}.weight`, norms[before.name].gain);
    }
    for (const site of sitesOf(spec).filter((one) => isTurned(one, this.headsOnly))) {
      const { bias, weight } = linears[site.name];
      if (bias) await update(`${site.name}.bias`, bias);
      if (!replaced.includes(site)) await update(`${site.name}.weight`, weight as Tensor);
    }
    const { first, q } = this.group!;
    if (this.isFolded || !q) return;
    if (layer === first) {
      const turn = backend.zeros(q.shape);
      if (this.wayBack) backend.ops.gemm(this.wayBack, q, turn);
      else backend.copy(q, turn);
      await store(inputRotation(layer), turn, "F32");
      turn.dispose();
    }
    if (layer + 1 === model.spec.blocks.length) {
      // The turn back is qᵀ, as which the turn into these coordinates is held.
      await store(OUTPUT_ROTATION, block.inputRotation as Tensor, "F32");
    }
  }

  /** Folds a Q that all blocks share into what stands around them. */
  async finish(unit: UnitWriter, signal: AbortSignal | undefined): Promise<OuterOutcome> {
    // It may have been found by an earlier run.
    if (!this.group) await this.load(this.groups[0]);
    return { config: await foldOuter(this.backend, this.model, this.group!.q!, unit, signal) };
  }

  /** Takes up the group that begins at `first`, as far as the journal has it. */
  private async leave(first: number): Promise<void> {
    const before = this.groups.find(({ end }) => end === first);
    if (before && this.group?.first !== before.first) await this.load(before);
    if (this.group?.q) {
      this.wayBack ??= this.backend.zeros(this.group.q.shape);
      this.backend.ops.transpose(this.group.q, this.wayBack);
    }
    this.drop();
    await this.load(this.groupOf(first));
  }

  private drop(): void {
    if (this.group) dispose([this.group.q, ...this.group.r2]);
    this.group = undefined;
  }

  /** Takes up a group that an earlier run found. */
  private async load(group: BlockGroup): Promise<void> {
    if (!this.journal.isLasting) return;
    const kept = await this.journal.load(rotationPart(group));
    if (!kept) return;
    this.drop();
    const { hiddenSize, blocks } = this.model.spec;
    const arrays = [...kept.arrays.values()] as Float32Array[];
    const first = this.headsOnly ? undefined : arrays.shift();
    const q = first && this.backend.upload(first, [hiddenSize, hiddenSize]);
    const r2 = arrays.map((data, i) => {
      const { headDim } = attentionOf(blocks[group.first + i]);
      return this.backend.upload(data, [data.length / headDim, headDim]);
    });
    const { notes, concentrations = [], curve = [] } = kept.facts as unknown as GroupRotation;
    this.group = { ...group, q, r2, notes, concentrations, curve };
  }

  private async *search(
    group: BlockGroup,
    blocks: readonly (RotationProblem | RotationSource)[],
    seconds: number | undefined,
  ): Steps<void> {
    const { backend, journal } = this;
    const state = `${rotationPart(group)}.state`;
    const keeper = journal.keeper(state);
    const found = yield* this.passes.follow(
      "rotate",
      whole,
      (signal, onProgress) =>
        optimiseRotation(backend, blocks, { ...this.options, seconds, keeper, signal, onProgress }),
      ({ q, r2 }: RotationOutcome) => dispose([q, ...r2]),
    );
    const { q, r2, ...facts } = found;
    const { notes, concentrations, curve } = facts;
    this.group = { ...group, q, r2, notes, concentrations, curve };
    if (!journal.isLasting) return;
    const arrays = new Map<string, Float32Array>();
    for (const [i, tensor] of (q ? [q, ...r2] : r2).entries()) {
      arrays.set(String(i), (await backend.read(tensor)) as Float32Array);
    }
    await journal.save(rotationPart(group), { facts, arrays });
    journal.drop([state]);
  }

  /** Runs the blocks of a group dense and puts the moments of their inputs into the journal. */
  private async *survey({ first, end }: BlockGroup): Steps<void> {
    const { backend, model, passes, journal, objective } = this;
    if (objective === "magnitude") return;
    const parts = Array.from({ length: end - first }, (_, i) => momentsPart(first + i));
    if (parts.every((part) => journal.has(part))) return;
    const stream = await passes.calibration.stream.copy("survey");
    try {
      for (let layer = first; layer < end; layer++) {
        const block = await loadBlock(model, backend, layer, {
          hold: "f32",
          signal: passes.signal,
        });
        const needs = new Map(
          rotatedInputs(block.spec, false, this.options.loss).map(({ name }) => {
            return [name, new Set(["hessian"] as const)];
          }),
        );
        let statistics: ReadonlyMap<string, Statistics> = new Map();
        try {
          await foldNorms(backend, block);
          const share = (fraction: number) => (layer - first + fraction) / (end - first);
          const options = { advance: layer + 1 < end, stream };
          statistics = yield* passes.gather("survey", block, needs, options, share);
          const problem = rotationProblem(backend, block, { statistics });
          await this.putMoments(layer, problem);
        } finally {
          disposeBlock(block);
          disposeStatistics(statistics.values());
        }
      }
    } finally {
      await stream.close();
    }
  }

  private async putMoments(layer: number, problem: RotationProblem): Promise<void> {
    const { backend, journal } = this;
    const options = resolveRotation(this.options);
    const { moments, notes } = await rotationMoments(backend, problem, options);
    const arrays = new Map<string, Float32Array>();
    for (const [input, moment] of moments) {
      arrays.set(input, (await backend.read(moment)) as Float32Array);
    }
    dispose(moments.values());
    await journal.put(momentsPart(layer), { facts: { notes }, arrays });
  }

  /** A block of a group, loaded anew for each step. */
  private source(layer: number): RotationSource {
    const { backend, model, journal } = this;
    const { signal } = this.passes;
    const opened = new Map<RotationProblem, BlockWeights>();
    return {
      open: async () => {
        const block = await loadBlock(model, backend, layer, { hold: "f32", signal });
        const moments = new Map<string, Tensor>();
        try {
          await foldNorms(backend, block);
          const kept = await journal.load(momentsPart(layer));
          for (const [input, data] of kept?.arrays ?? []) {
            const site = sitesOf(block.spec).find(({ name }) => name === input)!;
            const cols = momentColumns(site, attentionOf(block.spec).headDim);
            const shape = [data.length / cols, cols];
            moments.set(input, backend.upload(data as Float32Array, shape));
          }
          const given: RotationMoments | undefined = kept ? moments : undefined;
          const problem = rotationProblem(backend, block, { moments: given });
          opened.set(problem, block);
          return problem;
        } catch (error) {
          disposeBlock(block);
          dispose(moments.values());
          throw error;
        }
      },
      close: (problem) => {
        disposeBlock(opened.get(problem)!);
        dispose(problem.moments?.values() ?? []);
        opened.delete(problem);
      },
    };
  }

  dispose(): void {
    this.drop();
    this.wayBack?.dispose();
  }
}

function momentsPart(layer: number): string {
  return `model.layers.${layer}.moments`;
}

function rotationPart({ first }: BlockGroup): string {
  return `model.layers.${first}.rotation`;
}
