import {
  DAMPING,
  disposeGrids,
  fromGrids,
  GRID_OPTIONS,
  gridForm,
  gridOutcome,
  openGrids,
  putOn,
  refine,
  refineOption,
} from "../grid.js";
import { solverOf } from "../grid-solver.js";
import { fitTables } from "../least-squares/fit-table.js";
import type { LinearProblem, Method } from "../method.js";
import type { OptionSpecs } from "../options.js";
import { colsOf, type Tensor } from "../tensor.js";

const OPTIONS = {
  ...GRID_OPTIONS,
  weighted: {
    kind: "flag",
    default: true,
    description: "weigh errors by the mean square of each input, which needs a text",
  },
  refine: refineOption(0),
  damping: DAMPING,
} as const satisfies OptionSpecs;

/** Weights of a group's columns are at least this share of their mean: no input is only ever zero. */
const LEAST_SHARE = 1e-6;

/**
 * Round to nearest: the scale of each group is the one with the least squared error, each column's
 * weighed by the mean square of its input; then every weight becomes the nearest level.
 */
export const rtn: Method<typeof OPTIONS> = {
  name: "rtn",
  summary: "round each weight to the nearest level of its group; quick, good at 8 bits",
  source: "Dettmers and Zettlemoyer 2022, arXiv 2212.09720",
  needs: ({ refine: sweeps, weighted }) => {
    if (sweeps > 0) return ["hessian"];
    return weighted ? ["columnSquares"] : [];
  },
  options: OPTIONS,
  rotation: { rounding: "wanda" },
  form: gridForm,
  async prune(problem, options) {
    const { backend, weight } = problem;
    const opened = openGrids(problem, options);
    const owned: Tensor[] = [];
    try {
      const omega = await errorWeights(problem, opened[0].options.groupSize, options.weighted);
      owned.push(omega);
      await fitTables(backend, weight, omega, opened, problem.signal);
      let target = weight;
      if (options.refine > 0) {
        target = backend.zeros(weight.shape);
        owned.push(target);
        backend.copy(problem.target ?? weight, target);
      }
      await putOn(backend, weight, opened, (term, w) =>
        solverOf(term).fit(backend, w, omega, term),
      );
      let figures = {};
      if (options.refine > 0) {
        const { refine: sweeps, damping } = options;
        figures = await refine(problem, target, opened, { sweeps, damping });
      } else await fromGrids(backend, opened, weight);
      return gridOutcome(problem, opened, options, { figures, notes: [] });
    } catch (error) {
      disposeGrids(opened);
      throw error;
    } finally {
      for (const tensor of owned) tensor.dispose();
    }
  },
};

/** What an error in each column weighs, [inFeatures]. */
async function errorWeights(
  { backend, weight, statistics }: LinearProblem,
  groupSize: number,
  weighted: boolean,
): Promise<Tensor> {
  const cols = colsOf(weight);
  const { columnSquares, hessian } = statistics.tensors;
  if (!weighted) return backend.upload(new Float32Array(cols).fill(1), [cols]);
  const squares = backend.zeros([cols]);
  if (columnSquares) backend.copy(columnSquares, squares);
  else backend.ops.diagonal(hessian, squares);
  const given = (await backend.read(squares)) as Float32Array;
  squares.dispose();
  return backend.upload(atLeast(given, groupSize), [cols]);
}

/** Weights raised to a share of their group's mean, or to 1 where all of a group are 0. */
export function atLeast(given: Float32Array, groupSize: number): Float32Array {
  const raised = given.slice();
  for (let first = 0; first < given.length; first += groupSize) {
    const group = raised.subarray(first, first + groupSize);
    const least = (LEAST_SHARE * group.reduce((sum, value) => sum + value, 0)) / group.length;
    for (let i = 0; i < group.length; i++) group[i] = Math.max(group[i], least) || 1;
  }
  return raised;
}
