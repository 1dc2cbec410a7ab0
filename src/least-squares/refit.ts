import type { Backend } from "../backend.js";
import type { OptionSpecs } from "../options.js";
import { gemmSteps, paceSteps } from "../steps.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";
import { type Equilibrated, equilibrate } from "./equilibrate.js";

/** The option `refit` of steps that remove weights. */
export const REFIT = {
  refit: {
    kind: "number",
    default: 0,
    min: 0,
    max: 1000,
    integer: true,
    unit: "iterations",
    description:
      "conjugate gradients that fit the weights that were kept to the layer's outputs afterwards; 4 give most of it, 10 nearly all",
  },
} as const satisfies OptionSpecs;

/** What the diagonal of ones is raised by. */
const DAMPING = 0.01;
/** Values of the weights that are fitted together, and rows at least. */
const [TOGETHER, LEAST_ROWS] = [2 ** 24, 64];
/** A row is done when the square of its residual is below this share of the first one. */
const DONE = 1e-8;

export interface RefitProblem {
  /** Ŵ, f32 [rows, cols], zero where the mask is; changed in place. */
  readonly weight: Tensor;
  /** u8 [rows, cols], 1 = kept. */
  readonly mask: Tensor;
  /** W, f32 [rows, cols]: what Ŵ is to compute. */
  readonly target: Tensor;
  /** H of the inputs, f32 [cols, cols], symmetric, in any scaling. */
  readonly hessian: Tensor;
  readonly iterations: number;
  /** Values of the weights that are fitted together, at most; no result depends on it. @default 2^24 */
  readonly together?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Least squares on a mask: lowers tr((Ŵ - W) H' (Ŵ - W)ᵀ) over the kept weights, H' = H + 0.01 diag(H),
 * by conjugate gradients for all rows at once, each with its own steps, begun at Ŵ (as ALPS does after
 * its search, arXiv 2406.07831, section 3.3). H is scaled to a diagonal of ones first, which is the
 * preconditioner. Weights of inputs that are always zero stay. One product with H an iteration.
 */
export async function refit(backend: Backend, problem: RefitProblem): Promise<void> {
  const { weight, mask, target, hessian, together: most = TOGETHER, signal } = problem;
  const [rows, cols] = [rowsOf(weight), colsOf(weight)];
  const together = Math.max(LEAST_ROWS, Math.floor(most / cols / LEAST_ROWS) * LEAST_ROWS);
  const equal = await equilibrate(backend, hessian, DAMPING);
  try {
    for (let first = 0; first < rows; first += together) {
      signal?.throwIfAborted();
      const part = (tensor: Tensor) =>
        backend.rows(tensor, first, Math.min(together, rows - first));
      const some = { weight: part(weight), mask: part(mask), target: part(target) };
      await refitRows(backend, { ...problem, ...some }, equal);
    }
  } finally {
    equal.dispose();
  }
}

/** The same of rows, which have nothing to do with each other. */
async function refitRows(
  backend: Backend,
  { weight, mask, target, iterations, signal }: RefitProblem,
  equal: Equilibrated,
): Promise<void> {
  const { ops } = backend;
  const [rows, cols] = [rowsOf(weight), colsOf(weight)];
  const scratch: Tensor[] = [];
  const blank = (...shape: number[]) => {
    const tensor = backend.zeros(shape);
    scratch.push(tensor);
    return tensor;
  };
  try {
    // Rows of the weights are columns here.
    const flipped = await flippedMask(backend, mask);
    scratch.push(flipped);
    const [fitted, residual, direction, image] = Array.from({ length: 4 }, () => blank(cols, rows));
    const factors = blank(rows);
    const upright = blank(rows, cols);
    const dots = async (a: Tensor, b: Tensor) => {
      ops.columnDots(a, b, factors);
      return (await backend.read(factors)) as Float32Array;
    };
    /** x += sign * y, each column by its own factor. */
    const move = (x: Tensor, y: Tensor, by: Float32Array, sign = 1) => {
      backend.write(factors, by);
      ops.addScaledColumns(x, y, factors, sign);
    };
    /** out = H' x on the mask. */
    const apply = async (x: Tensor, out: Tensor) => {
      await paceSteps(gemmSteps(backend, equal.hessian, x, out), signal);
      ops.applyMask(out, flipped);
    };
    ops.subtract(target, weight, upright);
    ops.scaleColumns(upright, equal.there);
    ops.scaleColumns(upright, equal.alive);
    ops.transpose(upright, direction);
    await apply(direction, residual);
    backend.copy(residual, direction);
    backend.copy(weight, upright);
    ops.scaleColumns(upright, equal.there);
    ops.transpose(upright, fitted);
    let norms = await dots(residual, residual);
    const enough = norms.map((norm) => DONE * norm);
    for (let i = 0; i < iterations; i++) {
      await apply(direction, image);
      const curvature = await dots(direction, image);
      const step = norms.map((norm, row) =>
        norm > enough[row] && curvature[row] > 0 ? norm / curvature[row] : 0,
      );
      if (step.every((one) => one === 0)) break;
      move(fitted, direction, step);
      move(residual, image, step, -1);
      const before = norms;
      norms = await dots(residual, residual);
      backend.copy(residual, image);
      move(
        image,
        direction,
        norms.map((norm, row) => (step[row] === 0 ? 0 : norm / before[row])),
      );
      backend.copy(image, direction);
    }
    ops.transpose(fitted, weight);
    ops.scaleColumns(weight, equal.back);
    ops.applyMask(weight, mask);
  } finally {
    for (const tensor of scratch) tensor.dispose();
  }
}

/** The transpose of a mask u8 [rows, cols], a new tensor. */
async function flippedMask(backend: Backend, mask: Tensor): Promise<Tensor> {
  const [rows, cols] = [rowsOf(mask), colsOf(mask)];
  const kept = (await backend.read(mask)) as Uint8Array;
  const flipped = new Uint8Array(kept.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) flipped[col * rows + row] = kept[row * cols + col];
  }
  return backend.upload(flipped, [cols, rows]);
}
