// Long work on a backend in steps, so that timers run and a signal is seen in between. Where a
// backend runs its operations at once, large products are cut along their rows. That changes their
// sums only where the backend has another kernel for fewer rows.
import type { Backend, Operations } from "./backend.js";
import type { Contract } from "./backends/operations/contract.js";
import type { GemmOptions } from "./backends/operations/gemm.js";
import { contracts } from "./backends/operations/index.js";
import { pause, TURN } from "./run.js";
import { colsOf, rowsOf, type Tensor } from "./tensor.js";

/**
 * Work between whose steps the caller may do something else, or leave. The step after one that yields
 * a promise is taken once that resolves.
 */
export type WorkSteps = Iterable<Promise<unknown> | undefined>;
/** Such work as a generator makes it. */
export type Work = Generator<Promise<unknown> | undefined, void, void>;

/** Multiply-adds of one step: some tens of milliseconds. */
const STEP = 2 ** 29;
/** Fewer rows do not make up for what a product packs first. */
const LEAST_ROWS = 48;

/** Takes all steps in one go; none of them may yield a promise. */
export function takeSteps(steps: WorkSteps): void {
  for (const _ of steps);
}

/**
 * Takes all steps, and lets timers run every 40 ms.
 *
 * @param look is called after whatever others may have done something in; what it throws is thrown
 * @throws the signal's reason when it was aborted; what the steps were writing is left half done then
 */
export async function paceSteps(
  steps: WorkSteps,
  signal: AbortSignal | undefined,
  look?: () => void,
): Promise<void> {
  let start = performance.now();
  for (const step of steps) {
    if (step) await step;
    const isLong = performance.now() - start >= TURN;
    if (isLong) await pause(signal);
    if (step || isLong) look?.();
    if (isLong) start = performance.now();
  }
}

export interface RowRange {
  readonly first: number;
  readonly count: number;
}

/**
 * The rows that are computed in one step each.
 *
 * @param work multiply-adds for each row
 * @param least rows of a step, whatever their work
 */
export function stepRanges(
  backend: Backend,
  rows: number,
  work: number,
  least = LEAST_ROWS,
): RowRange[] {
  const step = least * Math.max(1, Math.floor(STEP / (work * least)));
  if (!backend.runsAtOnce || rows <= step) return [{ first: 0, count: rows }];
  return Array.from({ length: Math.ceil(rows / step) }, (_, i) => ({
    first: i * step,
    count: Math.min(step, rows - i * step),
  }));
}

/** Operations whose contracts say which arguments are cut by rows, and what a row takes. */
type RowOperation = "accumulateHessian" | "multiply";

/** Runs an operation in steps of some rows each, as its contract says. */
export function* operationSteps<Name extends RowOperation>(
  backend: Backend,
  name: Name,
  ...args: Parameters<Operations[Name]>
): Work {
  const contract = contracts[name] as Contract<Operations[Name]>;
  const places = contract.rows!;
  const run = backend.ops[name] as (...args: unknown[]) => void;
  const rows = rowsOf(args[places[0]] as Tensor);
  const ranges = stepRanges(backend, rows, contract.rowWork!(...args), contract.leastRows);
  if (ranges.length === 1) {
    run(...args);
    yield;
    return;
  }
  for (const { first, count } of ranges) {
    const part = (tensor: unknown) => backend.rows(tensor as Tensor, first, count);
    run(...args.map((arg, i) => (places.includes(i) ? part(arg) : arg)));
    yield;
  }
}

/**
 * Runs `gemm` in steps of some rows of `out` each, with the same sums: an A that is read transposed is
 * turned first, so that its rows can be cut.
 */
export function* gemmSteps(
  backend: Backend,
  a: Tensor,
  b: Tensor,
  out: Tensor,
  options: GemmOptions = {},
): Work {
  const { transposeA = false } = options;
  const k = transposeA ? rowsOf(a) : colsOf(a);
  const ranges = stepRanges(backend, rowsOf(out), colsOf(out) * k);
  if (ranges.length === 1) {
    backend.ops.gemm(a, b, out, options);
    yield;
    return;
  }
  const turned = transposeA ? backend.zeros([rowsOf(out), k]) : undefined;
  try {
    if (turned) backend.ops.transpose(a, turned);
    for (const { first, count } of ranges) {
      const [from, to] = [turned ?? a, out].map((tensor) => backend.rows(tensor, first, count));
      backend.ops.gemm(from, b, to, { ...options, transposeA: false });
      yield;
    }
  } finally {
    turned?.dispose();
  }
}
