/** What puts matrices on grids: operations of a backend, or for pairs of columns what computes with them. */
import type { Backend } from "./backend.js";
import type { Cancellable } from "./backends/operations/contract.js";
import type { FitOptions, GridTensors } from "./backends/operations/fit-scales.js";
import type { KeptPattern } from "./backends/operations/grid-sweep.js";
import { fitPairs } from "./pairs/fit.js";
import { fromPairs, type PairTensors } from "./pairs/pairs.js";
import { refinePairs } from "./pairs/refine.js";
import { pairSweep } from "./pairs/sweep.js";
import type { Tensor } from "./tensor.js";

/** A grid that is yet to be filled, and what is said of it. */
export interface GridTerm {
  /** With a code book where there is one: then codes are those of pairs, [outFeatures, inFeatures / 2]. */
  readonly grid: GridTensors & Partial<Pick<PairTensors, "codebook">>;
  readonly options: FitOptions;
}

/** What puts matrices on a grid. */
interface GridSolver {
  /** As the operation `fitScales`. */
  fit(backend: Backend, w: Tensor, omega: Tensor, term: GridTerm): Promise<void>;
  /** As the operation `gridSweep`. */
  sweep(
    backend: Backend,
    w: Tensor,
    factor: Tensor,
    term: GridTerm,
    options: Cancellable & { readonly pattern?: KeptPattern | undefined },
  ): Promise<number>;
  /** As the operation `refineGrid`. */
  refine(
    backend: Backend,
    gradient: Tensor,
    h: Tensor,
    term: GridTerm,
    options: Cancellable,
  ): Promise<number>;
  /** As the operation `fromGrid`. */
  decode(backend: Backend, term: GridTerm, out: Tensor): Promise<void>;
}

/** By operations of the backend. */
const byColumns: GridSolver = {
  fit: ({ ops }, w, omega, { grid, options }) => ops.fitScales(w, omega, grid, options),
  sweep: ({ ops }, w, factor, { grid, options }, more) =>
    ops.gridSweep(w, factor, grid, { ...options, ...more }),
  refine: ({ ops }, gradient, h, { grid, options }, more) =>
    ops.refineGrid(grid, gradient, h, { ...options, ...more }),
  decode: ({ ops }, { grid, options }, out) => ops.fromGrid(grid, out, options),
};

const pairsOf = ({ grid }: GridTerm) => grid as PairTensors;

/** Two columns at a time; nothing is masked there. */
const byPairs: GridSolver = {
  fit: (backend, w, omega, term) => fitPairs(backend, w, omega, pairsOf(term), term.options),
  sweep: (backend, w, factor, term, { signal }) =>
    pairSweep(backend, w, factor, pairsOf(term), { ...term.options, signal }),
  refine: (backend, gradient, h, term, { signal }) =>
    refinePairs(backend, gradient, h, pairsOf(term), { ...term.options, signal }),
  decode: (backend, term, out) => fromPairs(backend, pairsOf(term), out, term.options),
};

/** What puts matrices on the grid of a term. */
export const solverOf = ({ grid }: GridTerm): GridSolver => (grid.codebook ? byPairs : byColumns);
