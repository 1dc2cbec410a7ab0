import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import {
  BLOCK_SIZE,
  blocksOf,
  chooseBlocks,
  coreRefusal,
  emptySandwich,
} from "../factor-blocks.js";
import { openDescent } from "../factor-descent.js";
import { type LinearProblem, type Method, thinCurve } from "../method.js";
import { pacer } from "../run.js";
import { reconstruct, type Sandwich } from "../sandwich.js";
import type { SnapshotArray } from "../snapshot.js";
import { colsOf, type Tensor } from "../tensor.js";
import { sparsegpt } from "./sparsegpt.js";

export interface ArmorHessianOptions {
  /** Size of A's and B's blocks, 4 to 128; 0 chooses by the layer's size. @default 0 */
  readonly blockSize: number;
  /** Rounds, each over A, B and S. @default 40 */
  readonly rounds: number;
  /** Share that the Hessian's diagonal is raised by in the last rounds. @default 0.1 */
  readonly damping: number;
}

/** What SparseGPT starts with: its own defaults. */
const START = { damping: 0.01, blockSize: 128 };

/** Where the damping begins, and the share of the rounds after which it is at its end. */
const FIRST_DAMPING = 10;
const FALLING = 0.7;

/**
 * ARMOR's factors (arXiv 2510.05528) fitted to the layer's outputs: W ≈ A S B minimises
 * tr((A S B - W) H (A S B - W)ᵀ) with the full Hessian of the inputs, damped, from SparseGPT's S and
 * A = B = I. Each round solves A by least squares, then each block of B, then goes once through all
 * groups of S and gives each its best two places and values. The layer's error never ends above
 * SparseGPT's.
 */
export const armorHessian: Method<ArmorHessianOptions> = {
  name: "armor-hessian",
  summary:
    "ARMOR's factors fitted to the layer's outputs by least squares, from SparseGPT's result",
  source: "factors of Liu et al. 2025, arXiv 2510.05528; the fit is penjing's own",
  needs: ["hessian"],
  isTimed: true,
  operations: ["coreSweep"],
  options: {
    blockSize: BLOCK_SIZE,
    rounds: {
      default: 40,
      min: 1,
      max: 1e5,
      integer: true,
      description: "passes over all factors",
    },
    damping: {
      default: 0.1,
      min: 1e-6,
      max: 100,
      description: "share that the Hessian's diagonal is raised by in the last rounds",
    },
  },
  refusal: coreRefusal,
  sandwichBlocks(rows, cols, { blockSize }) {
    const { blockRows, blockCols } = blocksOf(rows, cols, blockSize);
    return { left: blockRows, right: blockCols };
  },
  async prune(problem, options) {
    const { backend, weight, signal } = problem;
    signal?.throwIfAborted();
    const refused = coreRefusal(problem.sparsity);
    if (refused) throw new PenjingError(problem.name, `armor-hessian ${refused}`);
    const { blocks, notes } = chooseBlocks(problem, options.blockSize);
    const made: Tensor[] = [];
    const scratch: Tensor[] = [];
    const copyOf = (tensor: Tensor) => {
      const copy = backend.zeros(tensor.shape, tensor.dtype);
      scratch.push(copy);
      backend.copy(tensor, copy);
      return copy;
    };
    try {
      const original = copyOf(weight);
      const target = copyOf(weight);
      const hessian = copyOf(problem.statistics.hessian!);
      const diagonal = await prepare(backend, target, hessian);
      scratch.push(diagonal);
      const start = await sparsegpt.prune(problem, START);
      const { mask } = start;
      made.push(mask);
      const [startCore, startMask] = [copyOf(weight), copyOf(mask)];
      const sandwich = emptySandwich(problem, blocks);
      made.push(sandwich.left, sandwich.right);
      await writeIdentities(backend, sandwich);
      const before = await errorOf(problem, original, sandwich);
      const state = { target, hessian, diagonal, mask, sandwich };
      const course = await descend(problem, state, options);
      let after = await errorOf(problem, original, sandwich);
      // What damping adds may fall while the error rises, and hopeless numbers round anyhow.
      if (!(after <= before)) {
        backend.copy(startCore, weight);
        backend.copy(startMask, mask);
        await writeIdentities(backend, sandwich);
        after = before;
        notes.push("no factors lowered SparseGPT's layer error, so they are identities");
      }
      return {
        mask,
        sandwich,
        curve: thinCurve(course.losses),
        figures: {
          errorBefore: before,
          errorAfter: after,
          rounds: course.losses.length - 1,
          blockRows: blocks.blockRows,
          blockCols: blocks.blockCols,
          extraValues: sandwich.left.size + sandwich.right.size,
        },
        notes: [...start.notes, ...notes, ...course.notes],
      };
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    } finally {
      for (const tensor of scratch) tensor.dispose();
    }
  },
};

/**
 * Scales the Hessian to a mean diagonal of 1, and zeroes the weights of inputs that were always zero,
 * as SparseGPT does.
 *
 * @returns f32 [cols], the scaled diagonal, 1 where an input was always zero
 */
async function prepare(backend: Backend, target: Tensor, hessian: Tensor): Promise<Tensor> {
  const { ops } = backend;
  const cols = colsOf(hessian);
  const vector = backend.zeros([cols]);
  ops.diagonal(hessian, vector);
  const diagonal = (await backend.read(vector)) as Float32Array;
  const alive = diagonal.filter((h) => h > 0);
  const mean = alive.reduce((sum, h) => sum + h, 0) / Math.max(1, alive.length) || 1;
  backend.write(
    vector,
    diagonal.map((h) => Number(h > 0)),
  );
  ops.scaleColumns(target, vector);
  backend.write(
    vector,
    diagonal.map(() => 1 / mean),
  );
  ops.scaleColumns(hessian, vector);
  backend.write(
    vector,
    diagonal.map((h) => (h > 0 ? h / mean : 1)),
  );
  return vector;
}

/** tr(E H Eᵀ) / tr(W H Wᵀ) with E = W - A S B and the Hessian as it was gathered: the layer error. */
async function errorOf(
  { backend, weight, statistics }: LinearProblem,
  original: Tensor,
  sandwich: Sandwich,
): Promise<number> {
  const error = reconstruct(backend, weight, sandwich);
  backend.ops.subtract(original, error, error);
  const lost = await backend.ops.quadraticForm(error, statistics.hessian!);
  error.dispose();
  const whole = await backend.ops.quadraticForm(original, statistics.hessian!);
  return whole > 0 ? lost / whole : 0;
}

async function writeIdentities(backend: Backend, { left, right }: Sandwich): Promise<void> {
  for (const factor of [left, right]) {
    const size = colsOf(factor);
    const isDiagonal = (i: number) => Math.floor(i / size) % size === i % size;
    backend.write(
      factor,
      Float32Array.from({ length: factor.size }, (_, i) => Number(isDiagonal(i))),
    );
  }
}

interface DescentState {
  readonly target: Tensor;
  readonly hessian: Tensor;
  readonly diagonal: Tensor;
  readonly mask: Tensor;
  readonly sandwich: Sandwich;
}

/**
 * All rounds, while the damping falls from FIRST_DAMPING to the option's: from nearly ARMOR's diagonal
 * proxy, in which places and factors move far, to nearly the layer's error.
 *
 * @returns the undamped loss relative to that of W = 0, at the start and after every round
 */
async function descend(
  problem: LinearProblem,
  state: DescentState,
  { rounds, damping }: ArmorHessianOptions,
): Promise<{ losses: readonly number[]; notes: readonly string[] }> {
  const { backend, weight: core, seconds = Number.POSITIVE_INFINITY } = problem;
  const { target, hessian, mask, sandwich } = state;
  const breathe = pacer(problem.signal);
  const notes: string[] = [];
  const whole = await backend.ops.quadraticForm(target, hessian);
  if (!(whole > 0)) return { losses: [0], notes };
  const kept = { core, mask, left: sandwich.left, right: sandwich.right };
  const losses = await resume(problem, kept);
  const dampingAt = (share: number) =>
    damping * Math.max(1, FIRST_DAMPING / damping) ** Math.max(0, 1 - share / FALLING);
  const begun = performance.now();
  const descent = await openDescent({ ...state, backend, core, breathe });
  try {
    for (;;) {
      const done = losses.length;
      const spent = (performance.now() - begun) / (1000 * seconds);
      descent.damp(dampingAt(Math.max(done / rounds, spent)));
      losses[done] = (await descent.measure()) / whole;
      if (done === rounds) break;
      if (spent >= 1 && done > 0) {
        const time = Number(seconds.toPrecision(3));
        notes.push(`its time of ${time} s was spent after ${done} of ${rounds} rounds`);
        break;
      }
      await descent.round(done % 2 === 1);
      problem.onProgress?.((done + 1) / rounds);
      await keep(problem, kept, losses);
      problem.signal?.throwIfAborted();
    }
  } finally {
    descent.dispose();
  }
  return { losses, notes };
}

type Kept = Readonly<Record<string, Tensor>>;

/** Keeps the factors and the losses so far, when it is time to. */
async function keep(
  { backend, keeper }: LinearProblem,
  kept: Kept,
  losses: readonly number[],
): Promise<void> {
  if (!keeper?.isDue()) return;
  const arrays = new Map<string, SnapshotArray>();
  for (const [name, tensor] of Object.entries(kept)) {
    arrays.set(name, (await backend.read(tensor)) as SnapshotArray);
  }
  await keeper.save({ facts: { losses }, arrays });
}

/** Takes up factors that were kept; the losses of the rounds that led to them. */
async function resume({ backend, keeper }: LinearProblem, kept: Kept): Promise<number[]> {
  const snapshot = await keeper?.load();
  if (!snapshot) return [];
  for (const [name, tensor] of Object.entries(kept)) {
    backend.write(tensor, snapshot.arrays.get(name) as Float32Array);
  }
  return [...(snapshot.facts.losses as number[])];
}
