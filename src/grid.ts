/** What quantizers share: their options, grids to fill, and their refinement. */

import type { Backend } from "./backend.js";
import { groupCount } from "./backends/operations/fit-scales.js";
import type { Form, Leaf, MatrixShape, Numbers } from "./form.js";
import { K_BLOCK, K_TYPES } from "./forms/k-type.js";
import { partRules } from "./forms/leaf.js";
import { PAIR } from "./forms/pairs.js";
import { type GridTerm, solverOf } from "./grid-solver.js";
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
  levels: {
    kind: "choice",
    values: ["integer", "ternary", "binary", "table", "pairs"],
    default: "integer",
    description:
      "what codes stand for: whole numbers, -1, 0 and 1 (2 bits), -1 and 1 (1 bit), levels that are fitted to each matrix (1 to 4 bits), or for two inputs at a time pairs that are (2 bits)",
  },
  terms: {
    kind: "number",
    default: 1,
    min: 1,
    max: 4,
    integer: true,
    description: "binary matrices that are added up, each of what those before it leave",
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

/** What levels other than whole numbers say of a grid, in the place of the options of these names. */
export const LEVELS = {
  ternary: { bits: 2, symmetric: true },
  binary: { bits: 1, symmetric: true },
  table: { symmetric: true },
  pairs: { bits: 2, symmetric: true },
} as const satisfies Readonly<
  Record<Exclude<GridChoice["levels"], "integer">, Partial<GridChoice>>
>;

function settled<Choice extends Omit<GridChoice, "search">>(choice: Choice): Choice {
  return choice.levels === "integer" ? choice : { ...choice, ...LEVELS[choice.levels] };
}

/** The numbers of a quantized matrix, or of one of its terms. */
function numbersOf(choice: Omit<GridChoice, "search">): Numbers {
  const { bits, groupSize, symmetric, kType, levels } = settled(choice);
  if (kType) return { kind: "k-type", type: kType };
  const size = groupSize === "row" ? undefined : groupSize;
  if (levels === "pairs") return { kind: "pairs", bits: PAIR * bits, groupSize: size };
  if (levels === "binary" || levels === "table") return { kind: "table", bits, groupSize: size };
  return { kind: "grid", bits, groupSize: size, symmetric };
}

/** The form of a quantized matrix, without its parts. */
export function gridForm(shape: MatrixShape, choice: Omit<GridChoice, "search">): Form<undefined> {
  const leaf = leafOfParts(shape, numbersOf(choice));
  if (choice.terms === 1) return leaf;
  return { kind: "sum", terms: Array.from({ length: choice.terms }, () => leaf) };
}

/** A dense leaf of some numbers, without its parts. */
export function leafOfParts(shape: MatrixShape, numbers: Numbers): Leaf<undefined> {
  const leaf = {
    kind: "leaf",
    shape,
    structure: { kind: "dense" },
    numbers,
    parts: new Map<string, undefined>(),
  } as const;
  return { ...leaf, parts: new Map(partRules(leaf).map(({ name }) => [name, undefined])) };
}

/** A grid that is yet to be filled, and what its codes stand for. */
export interface OpenGrid extends GridTerm {
  readonly levels: GridChoice["levels"];
}

/**
 * Takes tensors for the grids of a layer, one for each term. The caller disposes them, or gives them away.
 * The levels of a table or a code book that is to be fitted are 0.
 */
export function openGrids(problem: LinearProblem, choice: GridChoice): OpenGrid[] {
  return Array.from({ length: choice.terms }, () => openGrid(problem, settled(choice)));
}

function openGrid(
  { backend, weight, mask, scaleType = "f16" }: LinearProblem,
  { bits, groupSize: size, symmetric, search, kType, levels }: GridChoice,
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
    return { grid, levels, options: { ...own, scaleType, search, mask } };
  }
  const groupSize = size === "row" ? Math.max(1, cols) : size;
  const groups = groupCount(cols, groupSize);
  const isPairs = levels === "pairs";
  const grid = {
    codes: backend.zeros([rows, isPairs ? cols / PAIR : cols], "u8"),
    scales: backend.zeros([rows, groups]),
    codebook: isPairs ? backend.zeros([2 ** (PAIR * bits), PAIR]) : undefined,
    zeros: symmetric ? undefined : backend.zeros([rows, groups], "u8"),
    table: openTable(backend, levels, bits),
  };
  const isTernary = levels === "ternary";
  return { grid, levels, options: { bits, groupSize, isTernary, scaleType, search, mask } };
}

function openTable(
  backend: Backend,
  levels: GridChoice["levels"],
  bits: number,
): Tensor | undefined {
  if (levels === "binary") return backend.upload(Float32Array.of(-1, 1), [2]);
  return levels === "table" ? backend.zeros([2 ** bits]) : undefined;
}

export function disposeGrids(grids: readonly Pick<OpenGrid, "grid">[]): void {
  for (const { grid } of grids) for (const tensor of Object.values(grid)) tensor?.dispose();
}

/**
 * Puts a matrix on the grids of its terms, each after the first on what those before it leave.
 *
 * @param w [outFeatures, inFeatures], used up
 * @param put puts what it is given on a grid; it may use it up
 */
export async function putOn(
  backend: Backend,
  w: Tensor,
  terms: readonly OpenGrid[],
  put: (term: OpenGrid, w: Tensor) => Promise<void>,
): Promise<void> {
  if (terms.length === 1) return put(terms[0], w);
  const [held, rest] = [0, 1].map(() => backend.zeros(w.shape));
  try {
    for (const term of terms) {
      backend.copy(w, held);
      await put(term, held);
      await solverOf(term).decode(backend, term, held);
      backend.ops.subtract(w, held, rest);
      backend.copy(rest, w);
    }
  } finally {
    held.dispose();
    rest.dispose();
  }
}

/** out [outFeatures, inFeatures] = what the grids of some terms hold together. */
export async function fromGrids(
  backend: Backend,
  [first, ...rest]: readonly OpenGrid[],
  out: Tensor,
): Promise<void> {
  await solverOf(first).decode(backend, first, out);
  if (rest.length === 0) return;
  const scratch = backend.zeros(out.shape);
  try {
    for (const term of rest) {
      await solverOf(term).decode(backend, term, scratch);
      backend.ops.add(out, scratch);
    }
  } finally {
    scratch.dispose();
  }
}

/** What a quantizer gives: its grids as leaves, and the mask that it was given. */
export function gridOutcome(
  problem: LinearProblem,
  grids: readonly Pick<OpenGrid, "grid">[],
  choice: GridChoice,
  said: Pick<PruneOutcome, "figures" | "notes">,
): PruneOutcome {
  const { weight } = problem;
  const shape = [rowsOf(weight), colsOf(weight)] as const;
  const leaf = leafOfParts(shape, numbersOf(choice));
  const leaves = grids.map(({ grid: { codes, ...others } }): Leaf => {
    const tensors: Record<string, Tensor | undefined> = { values: codes, ...others };
    const parts = new Map([...leaf.parts.keys()].map((name) => [name, tensors[name]!]));
    return { ...leaf, parts };
  });
  const form = leaves.length === 1 ? leaves[0] : ({ kind: "sum", terms: leaves } as const);
  return codesOutcome(problem, form, said);
}

/** What a quantizer gives: a form, and the mask that it was given. */
export function codesOutcome(
  { backend, weight, mask: given }: LinearProblem,
  form: Form,
  { figures, notes }: Pick<PruneOutcome, "figures" | "notes">,
): PruneOutcome {
  const { shape } = weight;
  let mask: Tensor;
  if (given) {
    mask = backend.zeros(shape, "u8");
    backend.copy(given, mask);
  } else mask = backend.upload(new Uint8Array(weight.size).fill(1), shape);
  return { mask, form, figures, notes };
}

/** A sweep that lowers the objective by less than this share is the last one. */
const LEAST_GAIN = 1e-3;

/**
 * Refines grids by coordinate descent on trace(D (H + λI) Dᵀ), D being what they are off by together, one
 * after another, and puts what they hold then into the layer's weight.
 *
 * @param target [outFeatures, inFeatures], what the grids stand for
 * @param sweeps at least 1
 * @returns that objective before and after, and the sweeps that were made
 */
export async function refine(
  { backend, weight, statistics, signal }: LinearProblem,
  target: Tensor,
  terms: readonly OpenGrid[],
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
      await fromGrids(backend, terms, weight);
      ops.subtract(target, weight, error);
    };
    await subtract();
    let before = 0;
    let after = 0;
    let made = 0;
    while (made < sweeps) {
      let fall = 0;
      for (const [i, term] of terms.entries()) {
        // H is symmetric, so this is D H.
        ops.multiply(error, damped, gradient);
        if (made + i === 0) {
          ops.columnDots(error, gradient, diagonal);
          before = sumOf((await backend.read(diagonal)) as Float32Array);
          after = before;
        }
        fall += await solverOf(term).refine(backend, gradient, damped, term, { signal });
        await subtract();
      }
      made++;
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
