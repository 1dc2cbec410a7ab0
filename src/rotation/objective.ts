import type { Backend, EntropyOptions } from "../backend.js";
import { type AttentionSpec, attentionOf, type Site, sitesApart, streamWidth } from "../model.js";
import {
  DEFAULT_PATTERN,
  type Measured,
  type RotationLoss,
  type RotationPattern,
  type RotationProblem,
  turnsOf,
} from "../rotation.js";
import { gemmSteps, paceSteps, type Work } from "../steps.js";
import { colsOf, type Tensor } from "../tensor.js";
import {
  entropies,
  type InputGroup,
  inputGroups,
  isTransposed,
  type LossPart,
  measuredOf,
  type RoundingChoice,
  type RowPatterns,
  removals,
  roundings,
  rowPatterns,
  type StackedWeights,
} from "./loss.js";
import { type MomentOptions, rotationMoments } from "./moments.js";
import { checkShapes, transposed } from "./problem.js";

/** The rotations of a block, or the derivatives by them. */
export interface BlockTurns {
  /** [hidden, hidden]; undefined with `headsOnly`. */
  readonly q: Tensor | undefined;
  /** [kvHeads * headDim, headDim] */
  readonly r2: Tensor;
}

/** With `headsOnly` it looks at v and o alone, which R2 turns, and there is no Q. */
export interface ObjectiveOptions extends MomentOptions, Partial<RoundingChoice> {
  readonly loss: RotationLoss;
  /** What "removed" looks at. @default 2:4 */
  readonly pattern?: RotationPattern | undefined;
}

/** An input's second moment (or its inverse) M: the scores' scale is the diagonal of QᵀMQ. */
interface InputMoment {
  /**
   * [hidden, hidden]; of heads, M's diagonal blocks [heads * headDim, headDim], one a head; of inputs that
   * nothing turns M's diagonal [inFeatures, 1].
   */
  readonly moment: Tensor;
  /** M Q, of the same shape. */
  readonly product: Tensor;
  /** [inFeatures, 1] */
  readonly scale: Tensor;
  readonly scaleGradient: Tensor;
}

/**
 * How little the importance of one block's weights is concentrated, each weight rotated. Importance
 * is W² ("magnitude"), W² diag(QᵀHQ) ("wanda") or W² / diag(QᵀH⁻¹Q) ("sparsegpt").
 *
 * "entropy" is DenoiseRotator's loss (arXiv 2505.23049, section 4): the sum of the entropies of
 * importance, normalised over the rows of weights whose inputs are turned (all but down's), and over
 * the columns of those whose outputs are (v, o and down). "removed" is the sum over the rows of all
 * linears of in * lost / total, where total is the importance of a row of `in` weights and lost that
 * of the weights which an N:M pattern removes; it is not in the paper. "rounding" is the sum over the
 * linears of what rounding their rows by groups is expected to cost, N² Σ scale over each group with N
 * the p-norm of its weights, as a share of what it is without a rotation; here nothing is left out that
 * rounds, and the scale of down's inputs, which stay, is the diagonal of M.
 *
 * All weights are stacked into one matrix [sum of features, hidden], those that write to the
 * residual stream transposed, so that a step multiplies by Q once and back once.
 */
export class BlockObjective {
  private readonly sites: readonly Site[];
  private readonly groups: readonly InputGroup[];
  private readonly heads: AttentionSpec;
  /** v and o, which follow one another. */
  private readonly turnedByHeads: readonly Site[];
  /** Rows of the stack that each linear takes. */
  private readonly spans = new Map<string, { start: number; count: number }>();
  private readonly stack: Tensor;
  private readonly product: Tensor;
  private readonly gradient: Tensor;
  /** v's and o's rows of the product before R2. */
  private readonly unturned: Tensor;
  private readonly moments = new Map<string, InputMoment>();
  /** Inputs that nothing turns. */
  private readonly fixed = new Set<string>();
  private readonly isInverse: boolean;
  private readonly owned: Tensor[] = [];
  /** For "removed"; without them the loss is the entropy. */
  private readonly patterns: RowPatterns | undefined;
  /** For "rounding". */
  private readonly rounding: RoundingChoice | undefined;
  readonly notes: string[] = [];
  /** What `loss` found last, by input. */
  measured: readonly Measured[] = [];

  private constructor(
    private readonly backend: Backend,
    private readonly problem: RotationProblem,
    options: ObjectiveOptions,
  ) {
    const { block } = problem;
    const hidden = streamWidth(block);
    const all = sitesApart(block);
    this.turnedByHeads = all.filter((site) => Object.values(turnsOf(site)).includes("r2"));
    this.sites = options.headsOnly ? this.turnedByHeads : all;
    this.groups = inputGroups(this.sites);
    this.heads = attentionOf(block);
    this.isInverse = options.objective === "sparsegpt";
    this.patterns = this.choosePatterns(options);
    const { loss, groupSize = 32, power = 8 } = options;
    if (loss === "rounding") this.rounding = { groupSize, power };
    let rows = 0;
    for (const site of this.sites) {
      const count = site.shape[isTransposed(site) ? 1 : 0];
      this.spans.set(site.name, { start: rows, count });
      rows += count;
    }
    this.stack = this.own([rows, hidden]);
    this.product = this.own([rows, hidden]);
    this.gradient = this.own([rows, hidden]);
    const headRows = this.turnedByHeads.map(({ name }) => this.spans.get(name)!.count);
    this.unturned = this.own([headRows.reduce((sum, count) => sum + count, 0), hidden]);
  }

  /**
   * Copies what the loss needs of the problem, which may then be freed.
   *
   * @throws PenjingError when a Hessian is missing or does not factorise, or shapes contradict
   */
  static async open(
    backend: Backend,
    problem: RotationProblem,
    options: ObjectiveOptions,
  ): Promise<BlockObjective> {
    checkShapes(problem);
    const made = new BlockObjective(backend, problem, options);
    try {
      await made.fillStack();
      if (options.objective !== "magnitude") await made.fillMoments(options);
      if (made.rounding) await made.normalise();
      return made;
    } catch (error) {
      made.dispose();
      throw error;
    }
  }

  private choosePatterns({ loss, pattern }: ObjectiveOptions): RowPatterns | undefined {
    if (loss !== "removed") return undefined;
    const found = rowPatterns(pattern ?? DEFAULT_PATTERN, this.groups);
    if (typeof found !== "string") return found;
    this.notes.push(`${this.problem.name}: ${found}`);
    return undefined;
  }

  private own(shape: readonly number[]): Tensor {
    const tensor = this.backend.zeros(shape);
    this.owned.push(tensor);
    return tensor;
  }

  /** The rows of a stacked matrix that belong to some neighbouring linears. */
  private part(matrix: Tensor, sites: readonly Site[]): Tensor {
    const { start } = this.spans.get(sites[0].name)!;
    const end = this.spans.get(sites.at(-1)!.name)!;
    return this.backend.rows(matrix, start, end.start + end.count - start);
  }

  private async fillStack(): Promise<void> {
    const { backend, problem, stack } = this;
    for (const site of this.sites) {
      const rows = this.part(stack, [site]);
      const weight = problem.weights[site.name];
      if (!isTransposed(site)) backend.copy(weight, rows);
      else backend.write(rows, transposed((await backend.read(weight)) as Float32Array, weight));
    }
  }

  private async fillMoments(options: ObjectiveOptions): Promise<void> {
    const { backend, problem } = this;
    let given = problem.moments;
    if (!given) {
      const made = await rotationMoments(backend, problem, options);
      this.notes.push(...made.notes);
      this.owned.push(...made.moments.values());
      given = made.moments;
    }
    for (const [input, made] of given) {
      let moment = made;
      if (problem.moments) {
        moment = this.own(made.shape);
        backend.copy(made, moment);
      }
      const [n] = moment.shape;
      const product = this.own(moment.shape);
      const [scale, scaleGradient] = [this.own([n, 1]), this.own([n, 1])];
      this.moments.set(input, { moment, product, scale, scaleGradient });
      if (options.headsOnly && input !== this.headInput) this.fixed.add(input);
      if (colsOf(moment) === 1) this.fixed.add(input);
    }
    this.scaleFlat(this.fixed);
  }

  /** Fills the scales of some inputs as nothing turns them: the diagonal of M. */
  private scaleFlat(inputs: Iterable<string>): void {
    const { backend } = this;
    const { headDim } = this.heads;
    for (const input of inputs) {
      const { moment, scale } = this.moments.get(input)!;
      const [n, cols] = moment.shape;
      if (cols === 1) {
        backend.copy(moment, scale);
        continue;
      }
      const size = input === this.headInput ? headDim : n;
      for (let row = 0; row < n; row += size) {
        const [from, to] = [moment, scale].map((one) => backend.rows(one, row, size));
        backend.ops.diagonal(from, to);
      }
    }
  }

  /** Divides each linear in the stack by the root of its loss without a rotation, which becomes 1. */
  private async normalise(): Promise<void> {
    const { ops } = this.backend;
    this.scaleFlat(this.moments.keys());
    for (const { input, sites } of this.groups) {
      for (const site of sites) {
        const weight = this.part(this.stack, [site]);
        const at = (): [Tensor, Tensor] => [weight, this.part(this.gradient, [site])];
        const stacked = { ops, at, scaled: (one: string) => this.scaled(one) };
        const [{ loss }] = roundings(stacked, [{ input, sites: [site] }], this.rounding!);
        const found = await loss;
        if (found > 0) ops.scale(weight, 1 / Math.sqrt(found));
      }
    }
  }

  /**
   * The loss, in nats ("entropy"), weights of mean importance ("removed") or linears without a
   * rotation ("rounding"). Writes the derivatives by R2, and writes or adds those by Q.
   *
   * @param accumulate add to `gradients.q` instead of overwriting it
   * @throws the signal's reason when it was aborted
   */
  async loss(
    { q, r2 }: BlockTurns,
    gradients: BlockTurns,
    accumulate: boolean,
    signal?: AbortSignal,
  ): Promise<number> {
    const { backend, stack, product, gradient } = this;
    if (q) await paceSteps(gemmSteps(backend, stack, q, product), signal);
    else backend.copy(stack, product);
    this.turnHeads(r2);
    await paceSteps(this.scaleInputs(q, r2), signal);
    const parts = this.losses();
    // A backend that has no kernel for it computes it elsewhere, and its gradient is there only then.
    if (this.rounding) await Promise.all(parts.map(({ loss }) => loss));
    this.gradientOfHeads(r2, gradients.r2);
    if (gradients.q) {
      const options = { transposeA: true, accumulate };
      await paceSteps(gemmSteps(backend, stack, gradient, gradients.q, options), signal);
    }
    this.gradientOfScales(gradients);
    const losses = await Promise.all(parts.map(({ loss }) => loss));
    this.measured = measuredOf(this.lowered, this.groups, parts, losses);
    return losses.reduce((sum, part) => sum + part, 0);
  }

  private get lowered(): RotationLoss {
    if (this.rounding) return "rounding";
    return this.patterns ? "removed" : "entropy";
  }

  /** Calls `turn` for v's and o's heads: first row within `unturned`, and its key-value head. */
  private forHeads(turn: (row: number, kvHead: number) => void): void {
    const { kvHeads, headDim } = this.heads;
    let first = 0;
    for (const { name } of this.turnedByHeads) {
      const { count } = this.spans.get(name)!;
      for (let row = 0; row < count; row += headDim) {
        turn(first + row, Math.floor((row * kvHeads) / count));
      }
      first += count;
    }
  }

  private turnHeads(r2: Tensor): void {
    const { backend, unturned, product } = this;
    const { headDim } = this.heads;
    const turned = this.part(product, this.turnedByHeads);
    backend.copy(turned, unturned);
    this.forHeads((row, kvHead) => {
      const rotation = backend.rows(r2, kvHead * headDim, headDim);
      const from = backend.rows(unturned, row, headDim);
      const to = backend.rows(turned, row, headDim);
      backend.ops.gemm(rotation, from, to, { transposeA: true });
    });
  }

  /** The input that R2 turns. */
  private get headInput(): string {
    return this.turnedByHeads.find((site) => turnsOf(site).reads === "r2")!.input;
  }

  /** Fills every input's scale: the diagonal of QᵀMQ, of heads that of R2ᵀ M R2 head by head. */
  private *scaleInputs(q: Tensor | undefined, r2: Tensor): Work {
    const { ops } = this.backend;
    for (const [input, { moment, product, scale }] of this.moments) {
      if (!q || input === this.headInput || this.fixed.has(input)) continue;
      yield* gemmSteps(this.backend, moment, q, product);
      ops.columnDots(q, product, scale);
      yield;
    }
    this.forOutputHeads(({ moment, product, scale }, rotation) => {
      ops.gemm(moment, rotation(r2), product);
      ops.columnDots(rotation(r2), product, scale);
    });
  }

  /** Calls `use` for each query head with its part of o's moment and what picks its rotation. */
  private forOutputHeads(use: (part: InputMoment, rotation: (r2: Tensor) => Tensor) => void): void {
    const whole = this.moments.get(this.headInput);
    if (!whole) return;
    const { backend } = this;
    const { heads, kvHeads, headDim } = this.heads;
    const rows = (tensor: Tensor, head: number) => backend.rows(tensor, head * headDim, headDim);
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor((h * kvHeads) / heads);
      const part: InputMoment = {
        moment: rows(whole.moment, h),
        product: rows(whole.product, h),
        scale: rows(whole.scale, h),
        scaleGradient: rows(whole.scaleGradient, h),
      };
      use(part, (r2) => rows(r2, kvHead));
    }
  }

  /** Fills the gradient by the turned weights and by the inputs' scales; the parts of the loss. */
  private losses(): LossPart[] {
    const stacked: StackedWeights = {
      ops: this.backend.ops,
      at: (sites) => [this.part(this.product, sites), this.part(this.gradient, sites)],
      scaled: (input) => this.scaled(input),
    };
    const { patterns, groups, rounding } = this;
    if (rounding) return roundings(stacked, groups, rounding);
    return patterns ? removals(stacked, groups, patterns) : entropies(stacked, groups);
  }

  /** What turns weights that read this input into importance. */
  private scaled(input: string): EntropyOptions {
    const moment = this.moments.get(input);
    if (!moment) return {};
    const { scale, scaleGradient } = moment;
    return { scale, scaleGradient, inverse: this.isInverse };
  }

  /** Fills R2's gradient, and turns v's and o's gradients back to before R2. */
  private gradientOfHeads(r2: Tensor, r2Gradient: Tensor): void {
    const { backend, unturned, product, gradient } = this;
    const { kvHeads, headDim } = this.heads;
    const turned = this.part(gradient, this.turnedByHeads);
    // The product has served its purpose and lends its rows.
    const back = this.part(product, this.turnedByHeads);
    this.forHeads((row, kvHead) => {
      const rows = (tensor: Tensor) => backend.rows(tensor, row, headDim);
      const square = (tensor: Tensor) => backend.rows(tensor, kvHead * headDim, headDim);
      // v's heads come first, one for each rotation.
      const accumulate = row >= kvHeads * headDim;
      const options = { transposeB: true, accumulate };
      backend.ops.gemm(rows(unturned), rows(turned), square(r2Gradient), options);
      backend.ops.gemm(square(r2), rows(turned), rows(back));
    });
    backend.copy(back, turned);
  }

  private gradientOfScales(gradients: BlockTurns): void {
    const { ops } = this.backend;
    for (const [input, { product, scaleGradient }] of this.moments) {
      if (!gradients.q || input === this.headInput || this.fixed.has(input)) continue;
      ops.addScaledColumns(gradients.q, product, scaleGradient, 2);
    }
    this.forOutputHeads(({ product, scaleGradient }, rotation) => {
      ops.addScaledColumns(rotation(gradients.r2), product, scaleGradient, 2);
    });
  }

  dispose(): void {
    for (const tensor of this.owned) tensor.dispose();
  }
}
