import type { Backend } from "../backend.js";
import { K_BLOCK } from "../forms/k-type.js";
import { PAIR } from "../forms/pairs.js";
import {
  DAMPING,
  disposeGrids,
  fromGrids,
  GRID_OPTIONS,
  gridForm,
  gridOutcome,
  type OpenGrid,
  openGrids,
  putOn,
  refine,
  refineOption,
} from "../grid.js";
import { solverOf } from "../grid-solver.js";
import { fitTables } from "../least-squares/fit-table.js";
import { deadInputs, inverseFactor } from "../least-squares/inverse-factor.js";
import type { LinearProblem, Method } from "../method.js";
import type { OptionSpecs } from "../options.js";
import { formatSparsity } from "../sparsity.js";
import { colsOf, type Tensor } from "../tensor.js";

const OPTIONS = {
  ...GRID_OPTIONS,
  order: {
    kind: "flag",
    default: true,
    description:
      "round inputs that weigh most first, within groups and group by group; not where it removes weights",
  },
  refine: refineOption(3),
  damping: DAMPING,
} as const satisfies OptionSpecs;

/**
 * GPTQ (arXiv 2210.17323): rounds column by column and spreads each column's error over the columns
 * that are still free, with U the upper Cholesky factor of the inverse of the damped Hessian. The scale
 * of a group is searched for where the sweep reaches it, on the weights as they are then. Columns keep
 * to their groups, whichever order they are rounded in (arXiv 2505.14638).
 *
 * With an N:M sparsity it removes weights in the same sweep, as SparseGPT does (arXiv 2301.00774, section
 * 3.5); scales of groups are then fitted to the weights that would stay. Groups of M keep their columns'
 * order.
 */
export const gptq: Method<typeof OPTIONS> = {
  name: "gptq",
  summary: "round column by column and repair the rest with second-order information",
  source: "Frantar et al. 2022, arXiv 2210.17323",
  needs: () => ["hessian"],
  options: OPTIONS,
  rotation: { rounding: "wanda" },
  form: gridForm,
  removes: true,
  refusal: (sparsity) =>
    sparsity.kind === "n:m" || sparsity.ratio === 0
      ? undefined
      : `removes N of every M weights as it rounds, not ${formatSparsity(sparsity)} of all; choose such as 2:4, or prune in a step of its own before.`,
  async prune(given, options) {
    const { backend, weight, signal, sparsity } = given;
    const { refine: sweeps, damping } = options;
    const owned: Tensor[] = [];
    const pattern = sparsity.kind === "n:m" && !given.mask ? sparsity : undefined;
    const mask = pattern ? backend.zeros(weight.shape, "u8") : given.mask;
    if (mask && pattern) owned.push(mask);
    const problem = { ...given, mask };
    const opened = openGrids(problem, options);
    // Another order would tear what is chosen together.
    const isTurned = options.order && !pattern;
    const order = isTurned ? await columnOrder(problem, opened[0]) : undefined;
    try {
      const turned = order ? await inOrder(problem, order.columns) : problem;
      if (turned !== problem) owned.push(turned.weight);
      if (turned !== problem && turned.mask) owned.push(turned.mask);
      const { factor, dead, notes } = await inverseFactor(turned, damping).finally(() => {
        if (turned !== problem) turned.statistics.tensors.hessian.dispose();
      });
      owned.push(factor);
      if (dead > 0) notes.push(`${deadInputs(dead)}; their weights are 0`);
      const back = order && backend.upload(inverted(order.columns), [order.columns.length]);
      if (back) owned.push(back);
      // What is to be met, by default the weights; 0 where an input was always zero.
      const target = backend.zeros(weight.shape);
      owned.push(target);
      if (problem.target) await copyAlive(problem, problem.target, target);
      else if (back) await backend.ops.orderColumns(turned.weight, back, target);
      else backend.copy(weight, target);
      const swept = openGrids(turned, options);
      // The last term's is what they lose together.
      let predictedLoss = 0;
      try {
        if (swept[0].grid.table || swept[0].grid.codebook) {
          const omega = await errorWeights(backend, factor);
          owned.push(omega);
          await fitTables(backend, turned.weight, omega, swept, signal);
        }
        await putOn(backend, turned.weight, swept, async (term, w) => {
          const more = { pattern, signal };
          predictedLoss = await solverOf(term).sweep(backend, w, factor, term, more);
        });
        for (const [i, { grid }] of swept.entries()) {
          if (order) await putBack(backend, grid, opened[i].grid, order);
          else copyGrid(backend, grid, opened[i].grid);
        }
      } finally {
        disposeGrids(swept);
      }
      let figures: Record<string, number> = { predictedLoss };
      if (sweeps > 0) {
        const refined = await refine(problem, target, opened, { sweeps, damping });
        figures = { ...figures, ...refined };
      } else await fromGrids(backend, opened, weight);
      return gridOutcome(problem, opened, options, { figures, notes });
    } catch (error) {
      disposeGrids(opened);
      throw error;
    } finally {
      for (const tensor of owned) tensor.dispose();
    }
  },
};

/** What an error in each column weighs in the sweep, [inFeatures]: 1 / u[j][j]². */
async function errorWeights(backend: Backend, factor: Tensor): Promise<Tensor> {
  const omega = backend.zeros([colsOf(factor)]);
  backend.ops.diagonal(factor, omega);
  const diagonal = (await backend.read(omega)) as Float32Array;
  backend.write(
    omega,
    diagonal.map((u) => 1 / u ** 2),
  );
  return omega;
}

/** Copies weights, but for those of inputs that were always zero. */
async function copyAlive(
  { backend, statistics }: LinearProblem,
  from: Tensor,
  to: Tensor,
): Promise<void> {
  const vector = backend.zeros([colsOf(from)]);
  backend.ops.diagonal(statistics.tensors.hessian, vector);
  const diagonal = (await backend.read(vector)) as Float32Array;
  backend.write(
    vector,
    diagonal.map((h) => Number(h > 0)),
  );
  backend.copy(from, to);
  backend.ops.scaleColumns(to, vector);
  vector.dispose();
}

/**
 * Columns in another order: column i of the new order is columns[i], and its group groups[i / size]. In a
 * grid with units its block is blocks[i / 256].
 */
interface Order {
  readonly columns: Int32Array;
  /** The same of codes, where one stands for two columns. */
  readonly codes: Int32Array;
  readonly groups: Int32Array;
  readonly blocks: Int32Array;
}

/**
 * Columns of a group by falling H_jj, groups by their largest one, in a grid with units within their blocks,
 * and these by theirs; the lower index first among equals. A last group that is shorter stays the last.
 * Undefined where nothing changes its place.
 */
async function columnOrder(
  { backend, weight, statistics }: LinearProblem,
  { grid, options: { groupSize } }: OpenGrid,
): Promise<Order | undefined> {
  const cols = colsOf(weight);
  const vector = backend.zeros([cols]);
  backend.ops.diagonal(statistics.tensors.hessian, vector);
  const h = (await backend.read(vector)) as Float32Array;
  vector.dispose();
  const together = grid.codebook ? PAIR : 1;
  const largestOf = (columns: readonly number[]) => Math.max(...columns.map((column) => h[column]));
  const each = (grid.units ? K_BLOCK : cols) / groupSize;
  const groups = Array.from({ length: Math.ceil(cols / groupSize) }, (_, k) => {
    const size = Math.min(groupSize, cols - k * groupSize);
    // What one code stands for stays together.
    const columns = Array.from({ length: size / together }, (_, i) =>
      Array.from({ length: together }, (_, place) => k * groupSize + i * together + place),
    )
      .sort((a, b) => largestOf(b) - largestOf(a) || a[0] - b[0])
      .flat();
    return { k, columns, block: Math.floor(k / each) };
  });
  const isShort = cols % groupSize !== 0;
  const last = isShort ? groups.pop() : undefined;
  const largest: number[] = [];
  for (const { block, columns } of groups) {
    largest[block] = Math.max(largest[block] ?? 0, largestOf(columns.slice(0, together)));
  }
  const byBlock = (a: number, b: number) => largest[b] - largest[a] || a - b;
  const ofGroup = ({ columns }: { readonly columns: readonly number[] }) =>
    largestOf(columns.slice(0, together));
  groups.sort(
    (a, b) => byBlock(a.block, b.block) || ofGroup(b) - ofGroup(a) || a.columns[0] - b.columns[0],
  );
  if (last) groups.push(last);
  const columns = Int32Array.from(groups.flatMap((group) => group.columns));
  if (columns.every((column, i) => column === i)) return undefined;
  const blocks = groups.filter((_, i) => i % each === 0).map(({ block }) => block);
  return {
    columns,
    codes: columns.filter((_, i) => i % together === 0).map((column) => column / together),
    groups: Int32Array.from(groups, ({ k }) => k),
    blocks: Int32Array.from(blocks),
  };
}

/** The order that takes back another one. */
function inverted(order: Int32Array): Int32Array {
  const inverse = new Int32Array(order.length);
  order.forEach((from, to) => {
    inverse[from] = to;
  });
  return inverse;
}

/** The same problem with its columns in another order. Its tensors are new, and the caller's. */
async function inOrder(problem: LinearProblem, columns: Int32Array): Promise<LinearProblem> {
  const { backend, weight, mask, statistics } = problem;
  const { ops } = backend;
  const { hessian } = statistics.tensors;
  const order = backend.upload(columns, [columns.length]);
  const turned = backend.zeros(weight.shape);
  const kept = mask && backend.zeros(weight.shape, "u8");
  const [rows, both] = [0, 1].map(() => backend.zeros(hessian.shape));
  await ops.orderColumns(weight, order, turned);
  if (mask && kept) await ops.orderColumns(mask, order, kept);
  await ops.orderColumns(hessian, order, both);
  ops.transpose(both, rows);
  await ops.orderColumns(rows, order, both);
  for (const tensor of [order, rows]) tensor.dispose();
  const tensors = { ...statistics.tensors, hessian: both };
  return { ...problem, weight: turned, mask: kept, statistics: { ...statistics, tensors } };
}

/** Puts a grid whose columns are in another order into one where they are in their own. */
async function putBack(
  backend: Backend,
  from: OpenGrid["grid"],
  to: OpenGrid["grid"],
  { codes, groups, blocks }: Order,
): Promise<void> {
  const { ops } = backend;
  const back = backend.upload(inverted(codes), [codes.length]);
  await ops.orderColumns(from.codes, back, to.codes);
  back.dispose();
  const order = backend.upload(inverted(groups), [groups.length]);
  for (const part of ["scales", "zeros", "minima"] as const) {
    const [one, other] = [from[part], to[part]];
    if (one && other) await ops.orderColumns(one, order, other);
  }
  order.dispose();
  for (const part of ["table", "codebook"] as const) {
    const [one, other] = [from[part], to[part]];
    if (one && other) backend.copy(one, other);
  }
  if (!from.units || !to.units) return;
  // A block has one unit, or two.
  const each = colsOf(to.units) / blocks.length;
  const own = [...inverted(blocks)].flatMap((block) =>
    Array.from({ length: each }, (_, i) => block * each + i),
  );
  const units = backend.upload(Int32Array.from(own), [own.length]);
  await ops.orderColumns(from.units, units, to.units);
  units.dispose();
}

function copyGrid(backend: Backend, from: OpenGrid["grid"], to: OpenGrid["grid"]): void {
  const parts = ["codes", "scales", "zeros", "minima", "units", "table", "codebook"] as const;
  for (const part of parts) {
    const [one, other] = [from[part], to[part]];
    if (one && other) backend.copy(one, other);
  }
}
