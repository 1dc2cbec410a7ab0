/** What quantizers share: their options, a grid to fill, and its refinement. */
import type { GridOptions, GridTensors } from "./backends/operations/fit-scales.js";
import { groupCount } from "./backends/operations/fit-scales.js";
import type { Leaf, MatrixShape, Numbers } from "./form.js";
import { K_BLOCK, K_TYPES } from "./forms/k-type.js";
import { partRules } from "./forms/leaf.js";
import type { LinearProblem, PruneOutcome } from "./method.js";
import type { NumberSpec, OptionSpecs, OptionsOf } from "./options.js";
import { colsOf, rowsOf, type Tensor } from "./tensor.js";

export const GRID_OPTIONS = {
  bits: {
    kind: "number",
    default: 4,
    min: 1,
    max: 8,
    integer: true,
    description: "bits of a weight's code",
  },
  groupSize: {
    kind: "number",
    default: 32,
    min: 1,
    integer: true,
    word: "row",
    unit: "columns",
    description: "inputs of a row that share a scale, or row for all of them",
  },
  symmetric: {
    kind: "flag",
    default: true,
    description: "keep 0 in the middle of the levels, so that no zero points are stored",
  },
  search: {
    kind: "flag",
    default: true,
    description: "try other scales for a group than the one that spans it",
  },
  kType: {
    kind: "choice",
    values: ["Q4_K", "Q5_K", "Q6_K"],
    otherwise: "those three say",
    description:
      "the grid of this type of GGUF, in the place of what bits, groupSize and symmetric say",
  },
} as const satisfies OptionSpecs;

/** @param sweeps by default */
export function refineOption<const Sweeps extends number>(sweeps: Sweeps) {
  return {
    kind: "number",
    default: sweeps,
    min: 0,
    max: 100,
    integer: true,
    unit: "sweeps",
    description: "coordinate descent over codes and scales afterwards, at most",
  } as const satisfies NumberSpec;
}

export const DAMPING = {
  kind: "number",
  default: 0.01,
  min: 0,
  max: 100,
  description: "added to the Hessian's diagonal, as a share of its mean",
} as const satisfies NumberSpec;

export type GridChoice = OptionsOf<typeof GRID_OPTIONS>;

/** The form of a quantized matrix, without its parts. */
export function gridForm(
  shape: MatrixShape,
  { bits, groupSize, symmetric, kType }: Omit<GridChoice, "search">,
): Leaf<undefined> {
  const size = groupSize === "row" ? undefined : groupSize;
  const numbers: Numbers = kType
    ? { kind: "k-type", type: kType }
    : { kind: "grid", bits, groupSize: size, symmetric };
  const leaf = {
    kind: "leaf",
    shape,
    structure: { kind: "dense" },
    numbers,
    parts: new Map<string, undefined>(),
  } as const;
  return { ...leaf, parts: new Map(partRules(leaf).map(({ name }) => [name, undefined])) };
}

/** A grid that is yet to be filled, and what operations are told of it. */
export interface OpenGrid {
  readonly grid: GridTensors;
  readonly options: GridOptions & Pick<GridChoice, "search">;
}

/** Takes tensors for the grid of a layer. The caller disposes them, or gives them away. */
export function openGrid(
  { backend, weight, mask, scaleType = "f16" }: LinearProblem,
  { bits, groupSize: size, symmetric, search, kType }: GridChoice,
): OpenGrid {
  const [rows, cols] = [rowsOf(weight), colsOf(weight)];
  if (kType) {
    const { hasMinima, ...own } = K_TYPES[kType];
    const [groups, blocks] = [cols / own.groupSize, cols / K_BLOCK];
    const grid = {
      codes: backend.zeros([rows, cols], "u8"),
      scales: backend.zeros([rows, groups]),
      minima: hasMinima ? backend.zeros([rows, groups]) : undefined,
      units: backend.zeros([rows, hasMinima ? 2 * blocks : blocks]),
    };
    return { grid, options: { ...own, scaleType, search, mask } };
  }
  const groupSize = size === "row" ? Math.max(1, cols) : size;
  const groups = groupCount(cols, groupSize);
  const grid = {
    codes: backend.zeros([rows, cols], "u8"),
    scales: backend.zeros([rows, groups]),
    zeros: symmetric ? undefined : backend.zeros([rows, groups], "u8"),
  };
  return { grid, options: { bits, groupSize, scaleType, search, mask } };
}

export function disposeGrid(grid: GridTensors): void {
  for (const tensor of Object.values(grid)) tensor?.dispose();
}

/** What a quantizer gives: its grid as a leaf, and the mask that it was given. */
export function gridOutcome(
  { backend, weight, mask: given }: LinearProblem,
  { codes, ...others }: GridTensors,
  choice: GridChoice,
  { figures, notes }: Pick<PruneOutcome, "figures" | "notes">,
): PruneOutcome {
  const shape = [rowsOf(weight), colsOf(weight)] as const;
  const tensors: Record<string, Tensor | undefined> = { values: codes, ...others };
  const form = gridForm(shape, choice);
  const parts = new Map([...form.parts.keys()].map((name) => [name, tensors[name]!]));
  let mask: Tensor;
  if (given) {
    mask = backend.zeros(shape, "u8");
    backend.copy(given, mask);
  } else mask = backend.upload(new Uint8Array(weight.size).fill(1), shape);
  return { mask, form: { ...form, parts }, figures, notes };
}

/** A sweep that lowers the objective by less than this share is the last one. */
const LEAST_GAIN = 1e-3;

/**
 * Refines a grid by coordinate descent on trace(D (H + λI) Dᵀ), D being what the grid is off by, and
 * puts what it holds then into the layer's weight.
 *
 * @param target [outFeatures, inFeatures], what the grid stands for
 * @param sweeps at least 1
 * @returns that objective before and after, and the sweeps that were made
 */
export async function refine(
  { backend, weight, statistics, signal }: LinearProblem,
  target: Tensor,
  { grid, options }: OpenGrid,
  { sweeps, damping }: { readonly sweeps: number; readonly damping: number },
): Promise<Readonly<Record<string, number>>> {
  const { ops } = backend;
  const { hessian } = statistics.tensors;
  const cols = colsOf(weight);
  const [damped, error, gradient] = [[cols, cols], weight.shape, weight.shape].map((shape) =>
    backend.zeros(shape),
  );
  const diagonal = backend.zeros([cols]);
  try {
    ops.diagonal(hessian, diagonal);
    const values = (await backend.read(diagonal)) as Float32Array;
    const mean = sumOf(values) / cols;
    backend.write(diagonal, new Float32Array(cols).fill(damping * mean));
    backend.copy(hessian, damped);
    ops.addDiagonal(damped, diagonal);
    const subtract = async () => {
      await ops.fromGrid(grid, weight, options);
      ops.subtract(target, weight, error);
    };
    await subtract();
    let before = 0;
    let after = 0;
    let made = 0;
    while (made < sweeps) {
      // H is symmetric, so this is D H.
      ops.multiply(error, damped, gradient);
      if (made === 0) {
        ops.columnDots(error, gradient, diagonal);
        before = sumOf((await backend.read(diagonal)) as Float32Array);
        after = before;
      }
      const fall = await ops.refineGrid(grid, gradient, damped, { ...options, signal });
      made++;
      await subtract();
      const isLast = !(fall > LEAST_GAIN * after);
      after -= fall;
      if (isLast) break;
    }
    return { objectiveBefore: before, objectiveAfter: after, sweeps: made };
  } finally {
    for (const tensor of [damped, error, gradient, diagonal]) tensor.dispose();
  }
}

function sumOf(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
