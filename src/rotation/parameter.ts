import type { Backend } from "../backend.js";
import { gemmSteps, paceSteps } from "../steps.js";
import { colsOf, type Tensor } from "../tensor.js";
import { CholeskyQr } from "./orthonormalise.js";

/** An orthogonal matrix that steps of Adam move, starting from the identity. */
export interface OrthogonalParameter {
  /**
   * Takes in the loss's gradient by the matrix, and resolves to the squared norm of the gradient by
   * what Adam sees of it.
   *
   * @param gradient [n, n]; may be changed
   */
  receive(gradient: Tensor): Promise<number>;
  /**
   * One step with the gradient received last.
   *
   * @param step from 1
   * @param scale factor on the gradient
   * @returns false when the step led to a matrix that cannot be orthonormalised
   */
  update(learningRate: number, step: number, scale: number): Promise<boolean>;
  /** Back to the identity, and to how it was made. */
  reset(): void;
  /** Every tensor that a later step depends on, the matrix itself left out. */
  readonly state: readonly Tensor[];
  dispose(): void;
}

/** What `gemm` takes. */
type Multiplied = Parameters<Backend["ops"]["gemm"]>;

/** A tensor of shape [n, n] for each name. */
function squares<Name extends string>(
  backend: Backend,
  n: number,
  names: readonly Name[],
): Record<Name, Tensor> {
  return Object.fromEntries(names.map((name) => [name, backend.zeros([n, n])])) as Record<
    Name,
    Tensor
  >;
}

function identity(n: number): Float32Array {
  return Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
}

function clear(backend: Backend, tensors: readonly Tensor[]): void {
  for (const tensor of tensors) backend.write(tensor, new Float32Array(tensor.size));
}

/**
 * The published way: Q is the orthogonal factor of a free matrix A, and Adam moves A.
 * The gradient by A = QR is (G + Q S) R⁻ᵀ, S the symmetric matrix whose upper triangle is that of
 * -QᵀG (Walter and Lehmann 2018, arXiv 1009.6112). A drifts from orthogonality, so the
 * factorisation is done twice: A = (Q R₂) R₁.
 */
export class QrParameter implements OrthogonalParameter {
  private readonly own;
  private readonly qr: CholeskyQr;

  /** @param value takes Q [n, n] */
  constructor(
    private readonly backend: Backend,
    private readonly value: Tensor,
    private readonly signal?: AbortSignal,
  ) {
    const n = colsOf(value);
    this.qr = new CholeskyQr(backend, n, signal);
    const names = ["free", "first", "second", "gradient", "work", "inner", "outer"] as const;
    this.own = squares(backend, n, names);
    this.reset();
  }

  reset(): void {
    const { free, first, second, inner, outer } = this.own;
    const unit = identity(colsOf(this.value));
    for (const tensor of [this.value, free, inner, outer]) this.backend.write(tensor, unit);
    clear(this.backend, [first, second]);
  }

  get state(): readonly Tensor[] {
    const { free, first, second, inner, outer } = this.own;
    return [free, first, second, inner, outer];
  }

  /** The gradient by A [n, n] that `receive` made. */
  get received(): Tensor {
    return this.own.gradient;
  }

  async receive(gradient: Tensor): Promise<number> {
    const { ops } = this.backend;
    const { work, inner, outer } = this.own;
    const multiply = (...args: Multiplied) =>
      paceSteps(gemmSteps(this.backend, ...args), this.signal);
    await multiply(this.value, gradient, work, { transposeA: true, alpha: -1 });
    ops.mirrorUpper(work);
    await multiply(this.value, work, gradient, { accumulate: true });
    // R⁻ᵀ = R₂⁻ᵀ R₁⁻ᵀ
    await multiply(gradient, outer, work);
    await multiply(work, inner, this.own.gradient);
    return ops.sumOfSquares(this.own.gradient);
  }

  async update(learningRate: number, step: number, scale: number): Promise<boolean> {
    const { free, first, second, gradient, work, inner, outer } = this.own;
    this.backend.ops.adam(free, gradient, first, second, { learningRate, step, scale });
    return (
      (await this.qr.factor(free, work, inner)) && (await this.qr.factor(work, this.value, outer))
    );
  }

  dispose(): void {
    this.qr.dispose();
    for (const tensor of Object.values(this.own)) tensor.dispose();
  }
}

/**
 * Riemannian Adam on the orthogonal group: the gradient QᵀG - GᵀQ is a skew-symmetric matrix, the
 * velocity of a rotation in Q's own frame, where Adam's moments live; Q moves to the orthogonal
 * factor of Q (I - step). I - step never is singular, as skew-symmetric matrices have imaginary
 * eigenvalues.
 */
export class RiemannianParameter implements OrthogonalParameter {
  private readonly own;
  private readonly qr: CholeskyQr;

  /** @param value takes Q [n, n] */
  constructor(
    private readonly backend: Backend,
    private readonly value: Tensor,
    private readonly signal?: AbortSignal,
  ) {
    const n = colsOf(value);
    this.qr = new CholeskyQr(backend, n, signal);
    const names = ["identity", "turn", "moved", "first", "second", "velocity", "inverse"] as const;
    this.own = squares(backend, n, names);
    this.reset();
  }

  reset(): void {
    const unit = identity(colsOf(this.value));
    for (const tensor of [this.value, this.own.identity]) this.backend.write(tensor, unit);
    clear(this.backend, [this.own.first, this.own.second]);
  }

  get state(): readonly Tensor[] {
    return [this.own.first, this.own.second];
  }

  async receive(gradient: Tensor): Promise<number> {
    const { ops } = this.backend;
    const { velocity } = this.own;
    const product = gemmSteps(this.backend, this.value, gradient, velocity, { transposeA: true });
    await paceSteps(product, this.signal);
    ops.antisymmetrise(velocity);
    return ops.sumOfSquares(velocity);
  }

  async update(learningRate: number, step: number, scale: number): Promise<boolean> {
    const { ops } = this.backend;
    const { turn, moved, first, second, velocity, inverse } = this.own;
    this.backend.copy(this.own.identity, turn);
    // A gradient that turns often as Q moves is better forgotten sooner than usual.
    const options = { learningRate, step, scale, beta1: 0.8 };
    ops.adam(turn, velocity, first, second, options);
    await paceSteps(gemmSteps(this.backend, this.value, turn, moved), this.signal);
    return this.qr.factor(moved, this.value, inverse);
  }

  dispose(): void {
    this.qr.dispose();
    for (const tensor of Object.values(this.own)) tensor.dispose();
  }
}
