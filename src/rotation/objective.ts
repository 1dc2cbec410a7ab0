import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import { LINEAR_NAMES, type LinearName } from "../model.js";
import {
  DEFAULT_PATTERN,
  type RotatedInput,
  type RotationLoss,
  type RotationPattern,
  type RotationProblem,
} from "../rotation.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";
import { entropies, type RowPatterns, removals, rowPatterns, type StackedWeights } from "./loss.js";
import { type MomentOptions, rotationMoments } from "./moments.js";

/** o and down act on the side of their rows, so they are stacked transposed. */
const TRANSPOSED: readonly LinearName[] = ["self_attn.o_proj", "mlp.down_proj"];

/** What `BlockObjective.loss` adds its derivatives to. */
export interface RotationGradients {
  /** [hidden, hidden] */
  readonly q: Tensor;
  /** [kvHeads * headDim, headDim] */
  readonly r2: Tensor;
}

export interface ObjectiveOptions extends MomentOptions {
  readonly loss: RotationLoss;
  /** What "removed" looks at. @default 2:4 */
  readonly pattern?: RotationPattern;
}

/** An input's second moment (or its inverse) M: the scores' scale is the diagonal of QᵀMQ. */
interface InputMoment {
  /** [hidden, hidden]; for o, M's diagonal blocks [heads * headDim, headDim], one a head. */
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
 * importance, normalised over rows for q, k, gate and up, over columns for down, over both for v
 * and o. "removed" is the sum over the rows of all seven linears of in * lost / total, where total
 * is the importance of a row of `in` weights and lost that of the weights which an N:M pattern
 * removes; it is not in the paper.
 *
 * All seven weights are stacked into one matrix [sum of features, hidden], o and down transposed,
 * so that a step multiplies by Q once and back once.
 */
export class BlockObjective {
  /** Rows of the stack that each linear takes, in the order of LINEAR_NAMES. */
  private readonly spans = new Map<LinearName, { start: number; count: number }>();
  private readonly stack: Tensor;
  private readonly product: Tensor;
  private readonly gradient: Tensor;
  /** v's and o's rows of the product before R2. */
  private readonly unturned: Tensor;
  private readonly moments = new Map<RotatedInput, InputMoment>();
  private readonly isInverse: boolean;
  private readonly owned: Tensor[] = [];
  /** For "removed"; without them the loss is the entropy. */
  private readonly patterns: RowPatterns | undefined;
  readonly notes: string[] = [];

  private constructor(
    private readonly backend: Backend,
    private readonly problem: RotationProblem,
    options: ObjectiveOptions,
  ) {
    const { weights } = problem;
    const hidden = colsOf(weights["self_attn.q_proj"]);
    this.isInverse = options.objective === "sparsegpt";
    this.patterns = this.choosePatterns(options);
    let rows = 0;
    for (const name of LINEAR_NAMES) {
      const count = TRANSPOSED.includes(name) ? colsOf(weights[name]) : rowsOf(weights[name]);
      this.spans.set(name, { start: rows, count });
      rows += count;
    }
    this.stack = this.own([rows, hidden]);
    this.product = this.own([rows, hidden]);
    this.gradient = this.own([rows, hidden]);
    this.unturned = this.own([this.headRows(), hidden]);
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
      return made;
    } catch (error) {
      made.dispose();
      throw error;
    }
  }

  private choosePatterns({ loss, pattern }: ObjectiveOptions): RowPatterns | undefined {
    if (loss === "entropy") return undefined;
    const { weights } = this.problem;
    const found = rowPatterns(pattern ?? DEFAULT_PATTERN, {
      hidden: colsOf(weights["self_attn.q_proj"]),
      heads: colsOf(weights["self_attn.o_proj"]),
      intermediate: colsOf(weights["mlp.down_proj"]),
    });
    if (typeof found !== "string") return found;
    this.notes.push(`${this.problem.name}: ${found}`);
    return undefined;
  }

  private own(shape: readonly number[]): Tensor {
    const tensor = this.backend.zeros(shape);
    this.owned.push(tensor);
    return tensor;
  }

  /** Rows of v and o, which follow one another in the stack. */
  private headRows(): number {
    const { heads, kvHeads, headDim } = this.problem.heads;
    return (heads + kvHeads) * headDim;
  }

  /** The rows of a stacked matrix that belong to the linears from `first` to `last`. */
  private part(matrix: Tensor, first: LinearName, last: LinearName = first): Tensor {
    const { start } = this.spans.get(first)!;
    const end = this.spans.get(last)!;
    return this.backend.rows(matrix, start, end.start + end.count - start);
  }

  private async fillStack(): Promise<void> {
    const { backend, problem, stack } = this;
    for (const name of LINEAR_NAMES) {
      const rows = this.part(stack, name);
      const weight = problem.weights[name];
      if (!TRANSPOSED.includes(name)) backend.copy(weight, rows);
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
    }
  }

  /**
   * The loss, in nats ("entropy") or weights of mean importance ("removed"). Writes the derivatives
   * by R2, and writes or adds those by Q.
   *
   * @param q [hidden, hidden]
   * @param r2 [kvHeads * headDim, headDim]
   * @param accumulate add to `gradients.q` instead of overwriting it
   */
  async loss(
    q: Tensor,
    r2: Tensor,
    gradients: RotationGradients,
    accumulate: boolean,
  ): Promise<number> {
    const { ops } = this.backend;
    const { stack, product, gradient } = this;
    ops.gemm(stack, q, product);
    this.turnHeads(r2);
    this.scaleInputs(q, r2);
    const losses = this.losses();
    this.gradientOfHeads(r2, gradients.r2);
    ops.gemm(stack, gradient, gradients.q, { transposeA: true, accumulate });
    this.gradientOfScales(gradients);
    return (await Promise.all(losses)).reduce((sum, part) => sum + part, 0);
  }

  /** Calls `turn` for v's and o's heads: first row within `unturned`, and its key-value head. */
  private forHeads(turn: (row: number, kvHead: number) => void): void {
    const { heads, kvHeads, headDim } = this.problem.heads;
    for (let h = 0; h < kvHeads; h++) turn(h * headDim, h);
    const group = heads / kvHeads;
    for (let h = 0; h < heads; h++) turn((kvHeads + h) * headDim, Math.floor(h / group));
  }

  private turnHeads(r2: Tensor): void {
    const { backend, unturned, product } = this;
    const { headDim } = this.problem.heads;
    const turned = this.part(product, "self_attn.v_proj", "self_attn.o_proj");
    backend.copy(turned, unturned);
    this.forHeads((row, kvHead) => {
      const rotation = backend.rows(r2, kvHead * headDim, headDim);
      const from = backend.rows(unturned, row, headDim);
      const to = backend.rows(turned, row, headDim);
      backend.ops.gemm(rotation, from, to, { transposeA: true });
    });
  }

  /** Fills every input's scale: the diagonal of QᵀMQ, for o that of R2ᵀ M R2 head by head. */
  private scaleInputs(q: Tensor, r2: Tensor): void {
    const { ops } = this.backend;
    for (const [input, { moment, product, scale }] of this.moments) {
      if (input === "self_attn.o_proj") continue;
      ops.gemm(moment, q, product);
      ops.columnDots(q, product, scale);
    }
    this.forOutputHeads(({ moment, product, scale }, rotation) => {
      ops.gemm(moment, rotation(r2), product);
      ops.columnDots(rotation(r2), product, scale);
    });
  }

  /** Calls `use` for each query head with its part of o's moment and what picks its rotation. */
  private forOutputHeads(use: (part: InputMoment, rotation: (r2: Tensor) => Tensor) => void): void {
    const whole = this.moments.get("self_attn.o_proj");
    if (!whole) return;
    const { backend } = this;
    const { heads, kvHeads, headDim } = this.problem.heads;
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
  private losses(): Promise<number>[] {
    const stacked: StackedWeights = {
      ops: this.backend.ops,
      at: (first, last) => [
        this.part(this.product, first, last),
        this.part(this.gradient, first, last),
      ],
      scaled: (input) => {
        const { scale, scaleGradient } = this.moments.get(input) ?? {};
        return { scale, scaleGradient, inverse: this.isInverse };
      },
    };
    return this.patterns ? removals(stacked, this.patterns) : entropies(stacked);
  }

  /** Fills R2's gradient, and turns v's and o's gradients back to before R2. */
  private gradientOfHeads(r2: Tensor, r2Gradient: Tensor): void {
    const { backend, unturned, product, gradient } = this;
    const { kvHeads, headDim } = this.problem.heads;
    const turned = this.part(gradient, "self_attn.v_proj", "self_attn.o_proj");
    // The product has served its purpose and lends its rows.
    const back = this.part(product, "self_attn.v_proj", "self_attn.o_proj");
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

  private gradientOfScales(gradients: RotationGradients): void {
    const { ops } = this.backend;
    for (const [input, { product, scaleGradient }] of this.moments) {
      if (input === "self_attn.o_proj") continue;
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

function checkShapes({ name, weights, heads: shape }: RotationProblem): void {
  const { heads, kvHeads, headDim } = shape;
  const hidden = colsOf(weights["self_attn.q_proj"]);
  const intermediate = rowsOf(weights["mlp.gate_proj"]);
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const expected: Record<LinearName, readonly number[]> = {
    "self_attn.q_proj": [q, hidden],
    "self_attn.k_proj": [kv, hidden],
    "self_attn.v_proj": [kv, hidden],
    "self_attn.o_proj": [hidden, q],
    "mlp.gate_proj": [intermediate, hidden],
    "mlp.up_proj": [intermediate, hidden],
    "mlp.down_proj": [hidden, intermediate],
  };
  for (const linear of LINEAR_NAMES) {
    if (String(weights[linear].shape) === String(expected[linear])) continue;
    throw new PenjingError(
      `${name}.${linear}`,
      `its weight is [${weights[linear].shape}], but ${heads} heads, ${kvHeads} key-value heads of ${headDim} and a residual stream of ${hidden} ask for [${expected[linear]}]; such a block cannot be rotated.`,
    );
  }
  if (heads % kvHeads === 0) return;
  throw new PenjingError(
    name,
    `${kvHeads} key-value heads do not divide ${heads} heads; such a block cannot be rotated.`,
  );
}

function transposed(data: Float32Array, { shape: [rows, cols] }: Tensor): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j];
  }
  return out;
}
