import type { Backend } from "../backend.js";
import { decode } from "../decode.js";
import { layerError } from "../layer-error.js";
import type { LinearProblem } from "../method.js";
import { pacer, timeSpent } from "../run.js";
import type { SnapshotArray } from "../snapshot.js";
import { colsOf, type Tensor } from "../tensor.js";
import { type BlockFactors, coreForm } from "./blocks.js";
import { openDescent } from "./descent.js";

/** The option `damping` of methods that fit factors. */
export const FIT_DAMPING = {
  kind: "number",
  default: 0.1,
  min: 1e-6,
  max: 100,
  description: "share that the Hessian's diagonal is raised by in the last rounds",
} as const;

/** Where a fit begins, besides the core S in `problem.weight`. */
export interface FitStart {
  /** W, f32 [rows, cols]: what the problem's weight was at first. */
  readonly original: Tensor;
  /** Of S, u8 [rows, cols], 2:4; changed in place. */
  readonly mask: Tensor;
  /** A and B, changed in place. */
  readonly factors: BlockFactors;
}

export interface FitOptions {
  /** Rounds, each over A, B and S. */
  readonly rounds: number;
  /** What the Hessian's diagonal is raised by, after this share of the rounds. */
  dampingAt(share: number): number;
}

/** How a fit went. */
export interface Fit {
  /** The layer's error with the factors as they came, and as they are left. */
  readonly errorBefore: number;
  readonly errorAfter: number;
  /** The loss relative to that of W = 0, at the start and after every round. */
  readonly losses: readonly number[];
  readonly notes: readonly string[];
}

/**
 * Fits A, S and B to the layer's outputs: rounds of block coordinate descent (`openDescent`) on
 * tr((A S B - W) H (A S B - W)ᵀ) with the full Hessian of the inputs, damped. The layer's error never
 * ends above that of the start. Reads the statistic `hessian`; stops after `problem.seconds`, and
 * with the signal; keeps its state with the problem's keeper.
 */
export async function fitFactors(
  problem: LinearProblem,
  { original, mask, factors }: FitStart,
  options: FitOptions,
): Promise<Fit> {
  const { backend, weight: core } = problem;
  const hessian = problem.statistics.tensors.hessian;
  const parts: Parts = { core, mask, ...factors };
  const scratch: Tensor[] = [];
  const copyOf = (tensor: Tensor) => {
    const copy = backend.zeros(tensor.shape, tensor.dtype);
    scratch.push(copy);
    backend.copy(tensor, copy);
    return copy;
  };
  const errorNow = async () => {
    const dense = await decode(backend, coreForm(core, factors));
    try {
      return await layerError(backend, original, dense, hessian, problem.signal);
    } finally {
      dense.dispose();
    }
  };
  try {
    const target = copyOf(original);
    const scaled = copyOf(hessian);
    const diagonal = await prepare(backend, target, scaled);
    scratch.push(diagonal);
    const start = Object.entries(parts).map(([name, tensor]) => [name, copyOf(tensor)] as const);
    const errorBefore = await errorNow();
    const { losses, notes } = await descend(problem, parts, options, {
      target,
      hessian: scaled,
      diagonal,
    });
    const errorAfter = await errorNow();
    // What damping adds may fall while the error rises, and hopeless numbers round anyhow.
    if (errorAfter <= errorBefore) return { errorBefore, errorAfter, losses, notes };
    for (const [name, tensor] of start) backend.copy(tensor, parts[name]);
    notes.push("no round lowered the layer's error, so the factors are as they were before");
    return { errorBefore, errorAfter: errorBefore, losses, notes };
  } finally {
    for (const tensor of scratch) tensor.dispose();
  }
}

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

/** What the rounds change. */
type Parts = Readonly<Record<string, Tensor>>;

async function descend(
  problem: LinearProblem,
  parts: Parts,
  { rounds, dampingAt }: FitOptions,
  goal: { readonly target: Tensor; readonly hessian: Tensor; readonly diagonal: Tensor },
): Promise<{ losses: readonly number[]; notes: string[] }> {
  const { backend, signal, seconds = Number.POSITIVE_INFINITY } = problem;
  const { core, mask, left, right } = parts;
  const breathe = pacer(signal);
  const notes: string[] = [];
  const whole = await backend.ops.quadraticForm(goal.target, goal.hessian, { signal });
  if (!(whole > 0)) return { losses: [0], notes };
  const losses = await resume(problem, parts);
  const begun = performance.now();
  const factors = { left, right };
  const descent = await openDescent({ ...goal, core, mask, factors, backend, breathe });
  try {
    for (;;) {
      const done = losses.length;
      const spent = (performance.now() - begun) / (1000 * seconds);
      descent.damp(dampingAt(Math.max(done / rounds, spent)));
      losses[done] = (await descent.measure()) / whole;
      if (done === rounds) break;
      if (spent >= 1 && done > 0) {
        notes.push(timeSpent(seconds, done, rounds, "rounds"));
        break;
      }
      await descent.round(done % 2 === 1);
      problem.onProgress?.(Math.min(1, Math.max((done + 1) / rounds, spent)));
      await keep(problem, parts, losses);
      signal?.throwIfAborted();
    }
  } finally {
    descent.dispose();
  }
  return { losses, notes };
}

/** Keeps the factors and the losses so far, when it is time to. */
async function keep(
  { backend, keeper }: LinearProblem,
  parts: Parts,
  losses: readonly number[],
): Promise<void> {
  if (!keeper?.isDue()) return;
  const arrays = new Map<string, SnapshotArray>();
  for (const [name, tensor] of Object.entries(parts)) {
    arrays.set(name, (await backend.read(tensor)) as SnapshotArray);
  }
  await keeper.save({ facts: { losses }, arrays });
}

/** Takes up factors that were kept; the losses of the rounds that led to them. */
async function resume({ backend, keeper }: LinearProblem, parts: Parts): Promise<number[]> {
  const snapshot = await keeper?.load();
  if (!snapshot) return [];
  for (const [name, tensor] of Object.entries(parts)) {
    backend.write(tensor, snapshot.arrays.get(name) as Float32Array);
  }
  return [...(snapshot.facts.losses as number[])];
}
