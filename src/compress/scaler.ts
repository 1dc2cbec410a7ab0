import type { Backend } from "../backend.js";
import type { Site } from "../model.js";
import { foldedGains, foldScales, isHalf, powersOfTwo, scaleRows } from "../scaling/fold.js";
import { changedBy, type ScaleGroup, scaleGroups } from "../scaling/groups.js";
import { columnScales, type Folded, type ScaleGrid, searchScales } from "../scaling/search.js";
import type { InputTurn } from "../statistic.js";
import type { StoredDType, Tensor } from "../tensor.js";
import { round } from "./layer.js";
import type { Steps } from "./pass.js";
import { scaleTypeOf } from "./store-form.js";
import type { BlockState, RunTools, TransformRun } from "./transform.js";

/** Finds the scales of a model's blocks and folds them, block by block. */
export class Scaler implements TransformRun {
  private readonly backend: Backend;
  /** What is gathered of the block's inputs once it is scaled. */
  private readonly gatheredAfter = new Map<string, ReadonlySet<string>>();

  /**
   * @param grid that the weights are rounded to afterwards
   * @param withNorms whether the gains of norms are divided, too
   */
  constructor(
    private readonly tools: RunTools,
    private readonly grid: ScaleGrid,
    private readonly withNorms: boolean,
  ) {
    this.backend = tools.passes.backend;
  }

  async prepare(): Promise<void> {
    this.gatheredAfter.clear();
  }

  needs(layer: number, input: Site, later: readonly string[]): readonly string[] {
    const { model, passes } = this.tools;
    const groups = scaleGroups(model.spec.blocks[layer], this.withNorms);
    if (!groups.some((group) => group.input === input.name)) return later;
    const isTold = (name: string) => {
      const { sees, turn, from } = passes.known[name];
      return sees !== "residual" && (turn ?? from) !== undefined;
    };
    const told = later.filter(isTold);
    const after = later.filter((name) => !isTold(name));
    if (after.length > 0) this.gatheredAfter.set(input.name, new Set(after));
    const read = told.flatMap((name) => passes.known[name].from?.statistic ?? []);
    return ["hessian", ...told, ...read];
  }

  async *apply(state: BlockState): Steps<void> {
    const { passes } = this.tools;
    const { block, statistics } = state;
    const groups = scaleGroups(block.spec, this.withNorms);
    const changed: ScaleGroup[] = [];
    for (const [i, group] of groups.entries()) {
      const { hessian } = statistics.get(group.input)!.tensors;
      const { linears, name } = block;
      const problem = {
        backend: this.backend,
        weights: group.consumers.map((site) => linears[site.name].weight as Tensor),
        ...{ hessian, group, grid: this.grid },
        scaleType: scaleTypeOf(this.dtypeOf(`${name}.${group.consumers[0].name}.weight`)),
        fold: await this.folder(state, group),
      };
      const found = yield* passes.follow(
        "scale",
        (fraction) => (i + fraction) / groups.length,
        (signal, onProgress) => searchScales({ ...problem, signal, onProgress }),
        () => {},
      );
      if (found.exponent === 0) continue;
      foldScales(this.backend, block, group, found);
      await this.scaleStatistics(state, group, found);
      changed.push(group);
    }
    yield* this.gatherAfter(state);
    await this.store(state, changed);
  }

  private dtypeOf(name: string): StoredDType {
    return this.tools.model.weights.get(name)!.dtype;
  }

  /** What a group's producer can be divided by as it is stored. */
  private async folder(
    { block }: BlockState,
    { norm, rows }: ScaleGroup,
  ): Promise<(scales: Float32Array) => Promise<Folded>> {
    const { backend } = this;
    const producer = norm?.name ?? rows!.linear;
    const dtype = this.dtypeOf(`${block.name}.${producer}.weight`);
    // Rows, and biases, have one scale for what would be rounded each in its own way.
    const isCoarse = isHalf(dtype) && norm?.kind !== "rms";
    const asked = (scales: Float32Array) => (isCoarse ? powersOfTwo(scales) : scales);
    if (!norm) return async (scales) => ({ scales: asked(scales) });
    const gains = (await backend.read(block.norms[norm.name].gain)) as Float32Array;
    const rounding = async (values: Float32Array) => {
      const tensor = backend.upload(values, [values.length]);
      await round(backend, tensor, dtype);
      const rounded = (await backend.read(tensor)) as Float32Array;
      tensor.dispose();
      return rounded;
    };
    return (scales) => foldedGains(gains, asked(scales), norm, rounding);
  }

  /** Makes of the statistics of a group's inputs what they are of the scaled ones, x / t. */
  private async scaleStatistics(
    { statistics }: BlockState,
    group: ScaleGroup,
    { scales }: Folded,
  ): Promise<void> {
    const { backend, tools } = this;
    const { known } = tools.passes;
    const before = statistics.get(group.input)!;
    const tensors: Record<string, Tensor> = { ...before.tensors };
    const columns = columnScales(scales, group, group.consumers[0].shape[1]);
    const inverse = backend.upload(
      columns.map((t) => 1 / t),
      [columns.length],
    );
    const turn: InputTurn = {
      columns: (w) => backend.ops.scaleColumns(w, inverse),
      rows: (w) => scaleRows(backend, w, inverse),
    };
    for (const [name, tensor] of Object.entries(tensors)) known[name].turn?.(backend, tensor, turn);
    for (const name of Object.keys(tensors)) {
      const { turn: own, from } = known[name];
      if (own || !from) continue;
      tensors[name].dispose();
      tensors[name] = await from.read(backend, tensors[from.statistic], before.sequences);
    }
    inverse.dispose();
    statistics.set(group.input, { ...before, tensors });
  }

  /** Gathers from the scaled block what tells nothing of scaled inputs. */
  private async *gatherAfter({ block, statistics }: BlockState): Steps<void> {
    if (this.gatheredAfter.size === 0) return;
    const options = { advance: false };
    const { passes } = this.tools;
    const gathered = yield* passes.gather("calibrate", block, this.gatheredAfter, options);
    for (const [input, after] of gathered) {
      const before = statistics.get(input)?.tensors;
      statistics.set(input, { ...after, tensors: { ...before, ...after.tensors } });
    }
  }

  /** What changed beside the linears that later steps replace, rounded as it is saved. */
  private async store({ block, replaced, tensors }: BlockState, groups: readonly ScaleGroup[]) {
    const { backend } = this;
    const { name: own, spec, norms, linears } = block;
    const store = async (tail: string, tensor: Tensor) => {
      const name = `${own}.${tail}`;
      const dtype = this.dtypeOf(name);
      const bytes = await round(backend, tensor, dtype);
      const before = tensors.findIndex((one) => one.name === name);
      if (before >= 0) tensors.splice(before, 1);
      tensors.push({ name, dtype, shape: tensor.shape, bytes });
    };
    for (const { norm } of groups) {
      if (!norm) continue;
      const { gain, bias } = norms[norm.name];
      if (bias) await store(`${norm.name}.bias`, bias);
      if (!norm.plusOne) {
        await store(`${norm.name}.weight`, gain);
        continue;
      }
      const values = (await backend.read(gain)) as Float32Array;
      const less = backend.upload(
        values.map((value) => value - 1),
        gain.shape,
      );
      await store(`${norm.name}.weight`, less);
      less.dispose();
    }
    for (const site of changedBy(spec, groups)) {
      const { bias, weight } = linears[site.name];
      if (bias && groups.some(({ rows }) => rows?.linear === site.name)) {
        await store(`${site.name}.bias`, bias);
      }
      if (!replaced.includes(site)) await store(`${site.name}.weight`, weight as Tensor);
    }
  }
}
