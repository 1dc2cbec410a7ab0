import type { ArmorState, Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import {
  BLOCK_SIZE,
  type BlockFactors,
  chooseBlocks,
  coreForm,
  coreRefusal,
  factorValues,
  identityFactors,
  plannedForm,
} from "../factors/blocks.js";
import { FIT_DAMPING, fitFactors } from "../factors/fit.js";
import { type LinearProblem, type Method, thinCurve } from "../method.js";
import { keepNormalised, type Normalisation, normalise } from "../normalise.js";
import type { OptionSpecs, OptionsOf } from "../options.js";
import { Random } from "../random.js";
import { pacer, TURN, timeSpent } from "../run.js";
import { colsOf, type Tensor } from "../tensor.js";

const OPTIONS = {
  blockSize: BLOCK_SIZE,
  iterations: {
    kind: "number",
    default: 3000,
    min: 0,
    max: 1e6,
    integer: true,
    description: "iterations at most",
  },
  learningRate: {
    kind: "number",
    default: 1e-4,
    min: 0,
    max: 1,
    description: "step of Adam",
  },
  patience: {
    kind: "number",
    default: 100,
    min: 1,
    max: 1e6,
    integer: true,
    description: "stop when this many iterations lower the proxy by less than 0.01%",
  },
  rounds: {
    kind: "number",
    default: 10,
    min: 0,
    max: 1e5,
    integer: true,
    description:
      "rounds of least squares on the layer's outputs after the iterations; 0 is ARMOR as published",
  },
  damping: FIT_DAMPING,
} as const satisfies OptionSpecs;

/** What `patience` iterations must lower the proxy by, relatively. */
const LEAST_PROGRESS = 1e-4;
/** A proxy this many times the first one will not come back. */
const DIVERGED = 10;
/** Iterations between decisions whether to stop. */
const CHECK = 16;
/** Share of a layer's time that iterations get, when rounds follow. */
const ITERATIONS_SHARE = 0.8;

/**
 * ARMOR (arXiv 2510.05528): W ≈ A S B with block-diagonal A and B around a 2:4 core S, which starts
 * as NoWag-P's pruning of the normalised weight (A = B = I) and is optimised against the proxy
 * f = sum_j h_j ||(A S B - W̄)_:j||² / sum_j h_j ||W̄_:j||². The best iterate is kept, so that f never
 * ends above NoWag-P's. The normalisation's divisors are folded into A's rows and B's columns.
 *
 * Beyond the paper, rounds of least squares then fit A, B and S to the layer's outputs with the full
 * Hessian of its inputs (`fitFactors`), of which f knows the diagonal only.
 */
export const armor: Method<typeof OPTIONS> = {
  name: "armor",
  summary: "a 2:4 core between two block-diagonal factors, optimised together; slow",
  source: "Liu et al. 2025, arXiv 2510.05528",
  needs: ({ rounds }) => (rounds > 0 ? ["columnSquares", "hessian"] : ["columnSquares"]),
  isTimed: true,
  options: OPTIONS,
  refusal: coreRefusal,
  form: (shape, { blockSize }) => plannedForm(shape, blockSize),
  async prune(problem, options) {
    const { backend, weight } = problem;
    problem.signal?.throwIfAborted();
    const refused = coreRefusal(problem.sparsity);
    if (refused) throw new PenjingError(problem.name, `armor ${refused}`);
    const { blocks, notes } = chooseBlocks(problem, options.blockSize);
    const scales = await normalise(problem);
    const target = await normalisedWeight(problem, scales);
    const original = backend.zeros(weight.shape);
    backend.copy(weight, original);
    const { mask } = keepNormalised(problem, scales);
    const importance = backend.upload(scales.moments, [scales.moments.length]);
    const factors = identityFactors(problem, blocks);
    let state: ArmorState | undefined;
    try {
      const sizes = { ...blocks, signal: problem.signal };
      state = await backend.ops.armorOpen(target, importance, mask, sizes);
      const course = await optimise(stage(problem, options, 0), state, options);
      const proxyBefore = state.startProxy;
      backend.ops.armorRead(state, { core: weight, mask, ...factors });
      state.dispose();
      await foldScales(backend, factors, scales);
      const fit =
        options.rounds > 0
          ? await fitFactors(
              stage(problem, options, 1),
              { original, mask, factors },
              { rounds: options.rounds, dampingAt: () => options.damping },
            )
          : undefined;
      return {
        mask,
        form: coreForm(weight, factors),
        curve: thinCurve(course.curve),
        figures: {
          proxyBefore,
          proxyAfter: course.best,
          iterations: course.curve.length - 1,
          ...(fit && {
            errorBefore: fit.errorBefore,
            errorAfter: fit.errorAfter,
            rounds: fit.losses.length - 1,
          }),
          ...blocks,
          extraValues: factorValues(factors),
        },
        notes: [...notes, ...course.notes, ...(fit?.notes ?? [])],
      };
    } catch (error) {
      for (const tensor of [mask, factors.left, factors.right]) tensor.dispose();
      throw error;
    } finally {
      state?.dispose();
      for (const tensor of [target, importance, original]) tensor.dispose();
    }
  },
};

/** The problem as the iterations (0) or the rounds (1) see it: their part of time and progress. */
function stage(
  problem: LinearProblem,
  { iterations, rounds }: OptionsOf<typeof OPTIONS>,
  which: 0 | 1,
): LinearProblem {
  const { seconds, onProgress } = problem;
  const first = rounds === 0 ? 1 : iterations === 0 ? 0 : ITERATIONS_SHARE;
  const [start, share] = which === 0 ? [0, first] : [first, 1 - first];
  return {
    ...problem,
    seconds: seconds === undefined ? undefined : seconds * share,
    onProgress: onProgress && ((fraction) => onProgress(start + share * fraction)),
    // The iterations' last state is kept until the layer is done; the few rounds are done again.
    keeper: which === 0 ? problem.keeper : undefined,
  };
}

/** W̄ [rows, cols], a new tensor. */
async function normalisedWeight(
  { backend, weight }: LinearProblem,
  { inverseColumns, inverseRows }: Normalisation,
): Promise<Tensor> {
  const values = (await backend.read(weight)) as Float32Array;
  const cols = inverseColumns.length;
  for (let i = 0; i < values.length; i++) {
    values[i] *= inverseColumns[i % cols] * inverseRows[Math.floor(i / cols)];
  }
  return backend.upload(values, weight.shape);
}

/** How an optimisation went. */
interface Course {
  /** The smallest proxy. */
  readonly best: number;
  /** Every iteration's proxy, after the one at the start. */
  readonly curve: readonly number[];
  readonly notes: readonly string[];
}

/** What decides when to stop. */
interface Track {
  /** The proxy at the start and after every iteration. */
  readonly curve: number[];
  /** The best proxy when it last fell by LEAST_PROGRESS, and the iteration. */
  mark: number;
  markAt: number;
}

/** Keeps the optimisation's state, when it is time to. */
async function keep(
  { backend, keeper }: LinearProblem,
  state: ArmorState,
  track: Track,
): Promise<void> {
  if (!keeper?.isDue()) return;
  const saved = await backend.ops.armorSave(state);
  const facts = { ...track, backend: backend.name };
  await keeper.save({ facts, arrays: new Map([["state", saved]]) });
}

/**
 * Takes up a state that was kept, and draws what was drawn until then. A state has its backend's own
 * form: after a move away from a GPU that failed, the layer begins anew.
 */
async function resume(
  { backend, keeper }: LinearProblem,
  state: ArmorState,
  random: Random,
): Promise<Track | undefined> {
  const kept = await keeper?.load();
  if (kept?.facts.backend !== backend.name) return undefined;
  const track = kept.facts as unknown as Track;
  backend.ops.armorLoad(state, kept.arrays.get("state") as Uint8Array);
  const draws = (track.curve.length - 1) * state.pairs;
  for (let i = 0; i < draws; i++) random.next();
  return track;
}

/**
 * Iterates until the patience or the iterations are used up. Whether to stop is decided at multiples
 * of CHECK iterations, so that the result does not depend on how many the machine does at a time.
 */
async function optimise(
  problem: LinearProblem,
  state: ArmorState,
  options: OptionsOf<typeof OPTIONS>,
): Promise<Course> {
  const { iterations, learningRate, patience } = options;
  const { seconds = Number.POSITIVE_INFINITY } = problem;
  const begun = performance.now();
  const random = new Random(problem.seed ?? 0);
  const begin: Track = { curve: [state.startProxy], mark: state.startProxy, markAt: 0 };
  const track = (await resume(problem, state, random)) ?? begin;
  const { curve } = track;
  let best = curve.reduce((least, proxy) => Math.min(least, proxy));
  let steps = 1;
  const breathe = pacer(problem.signal);
  const notes: string[] = [];
  while (curve.length <= iterations && best > 0) {
    const done = curve.length - 1;
    if (done % CHECK === 0) {
      const latest = curve[done];
      if (!(latest <= DIVERGED * state.startProxy)) {
        notes.push(
          `the proxy rose from ${state.startProxy} to ${latest} by iteration ${done}, so it was stopped and its best iterate kept; a smaller learningRate than ${learningRate} helps`,
        );
        break;
      }
      if (best < track.mark * (1 - LEAST_PROGRESS)) [track.mark, track.markAt] = [best, done];
      if (done - track.markAt >= patience) break;
    }
    if (performance.now() - begun >= 1000 * seconds && done > 0) {
      notes.push(timeSpent(seconds, done, iterations, "iterations"));
      break;
    }
    const count = Math.min(steps, iterations - done, CHECK - (done % CHECK));
    const start = performance.now();
    const proxies = await iterate(problem, state, random, count, learningRate);
    for (const proxy of proxies) {
      curve.push(proxy);
      if (proxy < best) best = proxy;
    }
    const now = performance.now();
    steps = Math.max(1, Math.floor((count * TURN) / (now - start)));
    const spent = (now - begun) / (1000 * seconds);
    problem.onProgress?.(Math.min(1, Math.max((done + count) / iterations, spent)));
    await keep(problem, state, track);
    await breathe();
  }
  return { best, curve, notes };
}

/** `count` iterations with groups drawn by `random`; their proxies. */
async function iterate(
  { backend, signal }: LinearProblem,
  state: ArmorState,
  random: Random,
  count: number,
  learningRate: number,
): Promise<Float64Array> {
  // 24 bits, so that no number rounds to 1 in float32.
  const draws = Float32Array.from(
    { length: count * state.pairs },
    () => Math.floor(random.next() * 2 ** 24) / 2 ** 24,
  );
  const choices = backend.upload(draws, [count, state.pairs]);
  try {
    return await backend.ops.armorAdvance(state, choices, { learningRate, signal });
  } finally {
    choices.dispose();
  }
}

/** Multiplies the rows of A by the row norms and the columns of B by the column norms. */
async function foldScales(
  backend: Backend,
  { left, right }: BlockFactors,
  { inverseColumns, inverseRows }: Normalisation,
): Promise<void> {
  const norm = (inverse: number) => (inverse > 0 ? 1 / inverse : 0);
  const [a, b] = [colsOf(left), colsOf(right)];
  const lefts = (await backend.read(left)) as Float32Array;
  for (let i = 0; i < lefts.length; i++) lefts[i] *= norm(inverseRows[Math.floor(i / a)]);
  backend.write(left, lefts);
  const rights = (await backend.read(right)) as Float32Array;
  for (let i = 0; i < rights.length; i++) {
    rights[i] *= norm(inverseColumns[Math.floor(i / (b * b)) * b + (i % b)]);
  }
  backend.write(right, rights);
}
