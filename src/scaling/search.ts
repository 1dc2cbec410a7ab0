/** The search for the scales of a group (AWQ, arXiv 2306.00978): those with which rounding loses least. */
import type { Backend, HalfFormat } from "../backend.js";
import { disposeGrids, openGrids } from "../grid.js";
import { atLeast } from "../quantizers/rtn.js";
import { pause } from "../run.js";
import { colsOf, type Tensor } from "../tensor.js";
import type { ScaleGroup } from "./groups.js";

/** The grid that follows. */
export interface ScaleGrid {
  readonly bits: number;
  readonly groupSize: number | "row";
  readonly symmetric: boolean;
}

/** The exponents that are tried, r = 0, 0.05 .. 1; 0 leaves everything as it is. */
export const EXPONENTS: readonly number[] = Array.from({ length: 21 }, (_, i) => i / 20);

/** What scales may be, so that norms divided by them stay within f16 (AutoAWQ #532). */
const [LEAST, MOST] = [2 ** -6, 2 ** 6];

export interface ScaleProblem {
  readonly backend: Backend;
  /** [outFeatures, inFeatures] each, of the linears that read the input. */
  readonly weights: readonly Tensor[];
  /** [inFeatures, inFeatures], their inputs' second moments. */
  readonly hessian: Tensor;
  readonly group: Pick<ScaleGroup, "channels" | "channelOf">;
  readonly grid: ScaleGrid;
  readonly scaleType: HalfFormat;
  /** The scales that the producer can be divided by as it is stored, for those that are asked for. */
  readonly fold: (scales: Float32Array) => Promise<Folded>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** What a producer can be divided by. */
export interface Folded {
  /** t of each of its channels. */
  readonly scales: Float32Array;
  /** A norm's gains then. @default those there are, divided by t */
  readonly gains?: Float32Array | undefined;
}

export interface FoundScales extends Folded {
  /** r, 0 where nothing is better than no scales. */
  readonly exponent: number;
  /** Σ tr(D H Dᵀ) over the linears for each exponent, D = W - Q(W t) / t. */
  readonly losses: readonly number[];
}

/**
 * t = aʳ with a the root mean square of what a channel carries, divided by the root of its largest times
 * its smallest, and kept within 2⁻⁶ and 2⁶; 1 for what carries nothing.
 */
export function scalesOf(activity: Float32Array, exponent: number): Float32Array {
  const alive = activity.filter((a) => a > 0);
  if (alive.length === 0 || exponent === 0) return new Float32Array(activity.length).fill(1);
  const [low, high] = alive.reduce(
    ([l, h], a) => [Math.min(l, a), Math.max(h, a)],
    [Number.POSITIVE_INFINITY, 0],
  );
  const middle = Math.sqrt(low) * Math.sqrt(high);
  return activity.map((a) =>
    a > 0 ? Math.min(MOST, Math.max(LEAST, (a / middle) ** exponent)) : 1,
  );
}

/** What each channel carries: the root of the mean of H's diagonal over its columns. */
function activityOf(
  diagonal: Float32Array,
  { channels, channelOf }: Pick<ScaleGroup, "channels" | "channelOf">,
): Float32Array {
  const [sums, counts] = [new Float64Array(channels), new Float64Array(channels)];
  for (const [column, value] of diagonal.entries()) {
    sums[channelOf(column)] += value;
    counts[channelOf(column)]++;
  }
  return Float32Array.from(sums, (sum, i) => Math.sqrt(Math.max(0, sum) / counts[i]));
}

/** Each column's scale. */
export function columnScales(
  scales: Float32Array,
  { channelOf }: Pick<ScaleGroup, "channelOf">,
  columns: number,
): Float32Array {
  return Float32Array.from({ length: columns }, (_, column) => scales[channelOf(column)]);
}

/**
 * Tries each exponent: rounds W t to nearest, by the scales of groups that suit it best, and takes what is
 * lost of W x. No scales are among what is tried, so that the result is never worse.
 */
export async function searchScales(problem: ScaleProblem): Promise<FoundScales> {
  const { backend, weights, hessian, group, fold, signal, onProgress } = problem;
  const columns = colsOf(hessian);
  const vector = backend.zeros([columns]);
  backend.ops.diagonal(hessian, vector);
  const diagonal = (await backend.read(vector)) as Float32Array;
  vector.dispose();
  const activity = activityOf(diagonal, group);
  const tried: Folded[] = [];
  for (const exponent of EXPONENTS) tried.push(await fold(scalesOf(activity, exponent)));
  const losses = EXPONENTS.map(() => 0);
  for (const [i, weight] of weights.entries()) {
    const rounder = new Rounder(problem, weight, diagonal);
    try {
      for (const [at, { scales }] of tried.entries()) {
        await pause(signal);
        losses[at] += await rounder.loss(columnScales(scales, group, columns));
        onProgress?.((i + (at + 1) / tried.length) / weights.length);
      }
    } finally {
      rounder.dispose();
    }
  }
  const best = losses.reduce((least, loss, at) => (loss < losses[least] ? at : least), 0);
  return { ...tried[best], exponent: EXPONENTS[best], losses };
}

/** Rounds one weight with scales on its columns. */
class Rounder {
  private readonly scaled: Tensor;
  private readonly error: Tensor;
  private readonly vector: Tensor;

  constructor(
    private readonly problem: ScaleProblem,
    private readonly weight: Tensor,
    private readonly diagonal: Float32Array,
  ) {
    const { backend } = problem;
    [this.scaled, this.error] = [0, 1].map(() => backend.zeros(weight.shape));
    this.vector = backend.zeros([colsOf(weight)]);
  }

  async loss(scales: Float32Array): Promise<number> {
    const { problem, weight, scaled, error, vector } = this;
    const { backend, hessian, grid, scaleType } = problem;
    const { ops } = backend;
    const choice = {
      ...grid,
      levels: "integer",
      terms: 1,
      search: true,
      kType: undefined,
    } as const;
    const by = (values: Float32Array) => {
      backend.write(vector, values);
      return vector;
    };
    backend.copy(weight, scaled);
    ops.scaleColumns(scaled, by(scales));
    const none = { sequences: 0, tokens: 0, tensors: {} };
    const sparsity = { kind: "unstructured", ratio: 0 } as const;
    const given = { name: "", weight: scaled, statistics: none, sparsity, backend, scaleType };
    const [opened] = openGrids(given, choice);
    const omega = atLeast(
      this.diagonal.map((h, j) => h / scales[j] ** 2),
      opened.options.groupSize,
    );
    try {
      await ops.fitScales(scaled, by(omega), opened.grid, opened.options);
      await ops.fromGrid(opened.grid, error, opened.options);
    } finally {
      disposeGrids([opened]);
    }
    ops.scaleColumns(error, by(scales.map((t) => 1 / t)));
    ops.subtract(weight, error, error);
    // H is symmetric, so this is D H.
    ops.multiply(error, hessian, scaled);
    ops.columnDots(error, scaled, vector);
    const parts = (await backend.read(vector)) as Float32Array;
    return parts.reduce((sum, part) => sum + part, 0);
  }

  dispose(): void {
    for (const tensor of [this.scaled, this.error, this.vector]) tensor.dispose();
  }
}
