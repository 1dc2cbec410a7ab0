import type { Backend } from "../backend.js";
import { type BlockWeights, disposeBlock } from "../decoder.js";
import { inputRotation, OUTPUT_ROTATION } from "../extras.js";
import type { FinishedTensor } from "../layout.js";
import { loadBlock } from "../load.js";
import type { StatisticName, Statistics } from "../method.js";
import { attentionOf, blockTensor, type Site, sitesOf } from "../model.js";
import { rotationMoments } from "../rotation/moments.js";
import { optimiseRotation } from "../rotation/optimise.js";
import { type BlockGroup, rotationGroups } from "../rotation/scope.js";
import {
  ROTATION_DEFAULTS,
  type RotationMoments,
  type RotationObjective,
  type RotationOptions,
  type RotationOutcome,
  type RotationProblem,
  type RotationSource,
  rotatedInputs,
  turnsOf,
} from "../rotation.js";
import type { StoredModel } from "../stored-model.js";
import type { StoredDType, Tensor } from "../tensor.js";
import type { Journal } from "./journal.js";
import { round } from "./layer.js";
import { disposeStatistics, type Passes, type Steps } from "./pass.js";
import {
  applyRotation,
  foldNorms,
  needsWithRotation,
  type RotatedBlock,
  rotationProblem,
  type SearchRecipe,
} from "./rotate.js";

/** The rotation that a group of blocks shares. */
interface GroupRotation extends BlockGroup {
  readonly q: Tensor;
  /** One for each block of the group. */
  readonly r2: readonly Tensor[];
  readonly notes: readonly string[];
}

const whole = (fraction: number) => fraction;

function dispose(tensors: Iterable<Tensor>): void {
  for (const tensor of tensors) tensor.dispose();
}

/**
 * Finds and applies the rotations of a model's blocks, in order. Where several blocks share one Q, a
 * survey runs them dense before the first is pruned; their statistics stay in the journal and their
 * weights are loaded anew at each step, so that never more than one block is on the backend.
 */
export class Rotator {
  private readonly backend: Backend;
  private readonly groups: readonly BlockGroup[];
  private readonly options: RotationOptions;
  /** Whether the rotation is folded into what stands around the blocks. */
  readonly isFolded: boolean;
  private readonly objective: RotationObjective;
  private group: GroupRotation | undefined;
  /** From the coordinates of the last group back to the unrotated ones. */
  private wayBack: Tensor | undefined;

  constructor(
    private readonly passes: Passes,
    private readonly model: StoredModel,
    { scope = "block", ...options }: SearchRecipe,
    private readonly journal: Journal,
  ) {
    this.backend = passes.backend;
    this.groups = rotationGroups(scope, model.spec.blocks.length);
    this.isFolded = scope === "shared";
    this.objective = options.objective;
    this.options = options;
  }

  private groupOf(layer: number): BlockGroup {
    return this.groups.find(({ end }) => layer < end)!;
  }

  /** Blocks whose rotation is sought when `layer` begins. */
  soughtAt(layer: number): number {
    const { first, end } = this.groupOf(layer);
    return first === layer ? end - first : 0;
  }

  /** Names in the journal of what all blocks of a block's group need. */
  partsOf(layer: number): readonly string[] {
    return this.journal.isLasting ? [rotationPart(this.groupOf(layer))] : [];
  }

  /** What must be gathered of a linear's inputs before `rotate`, given what its method needs. */
  needs(input: Site, needs: readonly StatisticName[]): readonly StatisticName[] {
    return needsWithRotation(input, needs, this.objective);
  }

  /**
   * Gets ready for a block: loads what was found before, or surveys and searches when the block is
   * the first of several that share a Q.
   *
   * @param seconds most that the search may take
   */
  async *open(layer: number, seconds: number | undefined): Steps<void> {
    const { first, end } = this.groupOf(layer);
    if (this.group?.first !== first) await this.leave(first);
    if (this.group || end === first + 1) return;
    yield* this.survey({ first, end });
    const sources = Array.from({ length: end - first }, (_, i) => this.source(first + i));
    yield* this.search({ first, end }, sources, seconds);
    await this.journal.drop(sources.map((_, i) => momentsPart(first + i)));
  }

  /**
   * Rotates a block whose norms are folded, and its statistics, in place.
   *
   * @returns the rotated block, and what the search had to say
   */
  async *rotate(
    block: BlockWeights,
    statistics: ReadonlyMap<string, Statistics>,
    seconds: number | undefined,
  ): Steps<RotatedBlock & { readonly notes: readonly string[] }> {
    const { backend } = this;
    const { layer } = block;
    if (!this.group) {
      const problem = rotationProblem(block, { statistics });
      yield* this.search({ first: layer, end: layer + 1 }, [problem], seconds);
    }
    const { first, q, r2, notes } = this.group!;
    const rotation = { q, r2: r2[layer - first], heads: attentionOf(block.spec) };
    const rotated = await applyRotation(backend, block, statistics, rotation);
    return { ...rotated, notes: layer === first ? notes : [] };
  }

  /**
   * What a rotation changes beside the planned linears: the others, norms and biases, rounded as they
   * are saved, and the turn from the last group's coordinates to this one's.
   */
  async store(block: BlockWeights, planned: readonly Site[]): Promise<FinishedTensor[]> {
    const { backend, model } = this;
    const { layer, spec, norms, linears } = block;
    const stored: FinishedTensor[] = [];
    const add = async (name: string, tensor: Tensor, dtype: StoredDType) => {
      const bytes = await round(backend, tensor, dtype);
      stored.push({ name, dtype, shape: tensor.shape, bytes });
    };
    const store = (name: string, tensor: Tensor) => {
      const weightName = blockTensor(layer, name);
      return add(weightName, tensor, model.weights.get(weightName)!.dtype);
    };
    for (const { before } of spec.branches) {
      await store(`${before.name}.weight`, norms[before.name]);
    }
    for (const site of sitesOf(spec)) {
      const { bias, weight } = linears[site.name];
      if (bias) await store(`${site.name}.bias`, bias);
      if (!planned.includes(site)) await store(`${site.name}.weight`, weight as Tensor);
    }
    if (this.isFolded) return stored;
    const { first, q } = this.group!;
    if (layer === first) {
      const turn = backend.zeros(q.shape);
      if (this.wayBack) backend.ops.gemm(this.wayBack, q, turn);
      else backend.copy(q, turn);
      await add(inputRotation(layer), turn, "F32");
      turn.dispose();
    }
    if (layer + 1 === model.spec.blocks.length) {
      // The turn back is qᵀ, as which the turn into these coordinates is held.
      await add(OUTPUT_ROTATION, block.inputRotation as Tensor, "F32");
    }
    return stored;
  }

  /** The Q that all blocks share; found when the first block was opened, here or in an earlier run. */
  async sharedQ(): Promise<Tensor> {
    if (!this.group) await this.load(this.groups[0]);
    return this.group!.q;
  }

  /** Takes up the group that begins at `first`, as far as the journal has it. */
  private async leave(first: number): Promise<void> {
    const before = this.groups.find(({ end }) => end === first);
    if (before && this.group?.first !== before.first) await this.load(before);
    if (this.group) {
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
    const [first, ...rest] = [...kept.arrays.values()] as Float32Array[];
    const q = this.backend.upload(first, [hiddenSize, hiddenSize]);
    const r2 = rest.map((data, i) => {
      const { headDim } = attentionOf(blocks[group.first + i]);
      return this.backend.upload(data, [data.length / headDim, headDim]);
    });
    this.group = { ...group, q, r2, notes: kept.facts.notes as string[] };
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
    const { q, r2, notes } = found;
    this.group = { ...group, q, r2, notes };
    if (!journal.isLasting) return;
    const arrays = new Map<string, Float32Array>();
    for (const [i, tensor] of [q, ...r2].entries()) {
      arrays.set(String(i), (await backend.read(tensor)) as Float32Array);
    }
    await journal.save(rotationPart(group), { facts: { notes }, arrays });
    await journal.drop([state]);
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
        const block = await loadBlock(model, backend, layer, { dense: true });
        const needs = new Map(
          rotatedInputs(block.spec).map(({ name }) => [name, new Set(["hessian"] as const)]),
        );
        let statistics: ReadonlyMap<string, Statistics> = new Map();
        try {
          await foldNorms(backend, block);
          const share = (fraction: number) => (layer - first + fraction) / (end - first);
          const options = { advance: layer + 1 < end, stream };
          statistics = yield* passes.gather("survey", block, needs, options, share);
          const problem = rotationProblem(block, { statistics });
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
    const { backend, journal, objective } = this;
    const options = { ...ROTATION_DEFAULTS, ...this.options, objective };
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
    const opened = new Map<RotationProblem, BlockWeights>();
    return {
      open: async () => {
        const block = await loadBlock(model, backend, layer, { dense: true });
        const moments = new Map<string, Tensor>();
        try {
          await foldNorms(backend, block);
          const kept = await journal.load(momentsPart(layer));
          for (const [input, data] of kept?.arrays ?? []) {
            const site = sitesOf(block.spec).find(({ name }) => name === input)!;
            const isOfHeads = turnsOf(site).reads === "r2";
            const cols = isOfHeads ? attentionOf(block.spec).headDim : site.shape[1];
            const shape = [data.length / cols, cols];
            moments.set(input, backend.upload(data as Float32Array, shape));
          }
          const given: RotationMoments | undefined = kept ? moments : undefined;
          const problem = rotationProblem(block, { moments: given });
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
  return blockTensor(layer, "moments");
}

function rotationPart({ first }: BlockGroup): string {
  return blockTensor(first, "rotation");
}
