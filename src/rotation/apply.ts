import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import type { Site } from "../model.js";
import { type BlockLinear, type HeadShape, turnsOf } from "../rotation.js";
import { pause } from "../run.js";
import type { InputTurn, Statistic, Statistics } from "../statistic.js";
import { gemmSteps, paceSteps, takeSteps, type Work } from "../steps.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";

/** Rows that are turned at a time, which bounds the scratch that an embedding takes. */
const ROWS_AT_ONCE = 1024;

/** A rotation of one block, as `optimiseRotation` finds it. */
export interface BlockRotation {
  /** [hidden, hidden]; undefined where the residual stream stays as it is. */
  readonly q: Tensor | undefined;
  /** [kvHeads * headDim, headDim] */
  readonly r2: Tensor;
  readonly heads: HeadShape;
}

/**
 * w [rows, n] = w Q with Q [n, n], in place: for linears that read the residual stream, for the
 * embedding, which begins it, and for the head.
 */
export function turnColumns(backend: Backend, w: Tensor, q: Tensor): void {
  takeSteps(columnSteps(backend, w, q));
}

/** The same in steps. */
function* columnSteps(backend: Backend, w: Tensor, q: Tensor): Work {
  const [rows, n] = [rowsOf(w), colsOf(w)];
  const scratch = backend.zeros([Math.min(rows, ROWS_AT_ONCE), n]);
  try {
    for (let start = 0; start < rows; start += ROWS_AT_ONCE) {
      const count = Math.min(ROWS_AT_ONCE, rows - start);
      const [part, turned] = [backend.rows(w, start, count), backend.rows(scratch, 0, count)];
      yield* gemmSteps(backend, part, q, turned);
      backend.copy(turned, part);
    }
  } finally {
    scratch.dispose();
  }
}

/** w [n, cols] = Qᵀ w, in place: for linears that write to the residual stream. */
export function turnRows(backend: Backend, w: Tensor, q: Tensor): void {
  takeSteps(rowSteps(backend, w, q));
}

/** The same in steps. */
function* rowSteps(backend: Backend, w: Tensor, q: Tensor): Work {
  const turned = backend.zeros(w.shape);
  try {
    yield* gemmSteps(backend, q, w, turned, { transposeA: true });
    backend.copy(turned, w);
  } finally {
    turned.dispose();
  }
}

/** R2's matrices along a diagonal [n, n], each as often as heads share it. */
async function headRotation(
  backend: Backend,
  { r2, heads: { kvHeads, headDim } }: BlockRotation,
  n: number,
): Promise<Tensor> {
  const data = (await backend.read(r2)) as Float32Array;
  const whole = new Float32Array(n * n);
  for (let row = 0; row < n; row++) {
    const head = Math.floor(row / headDim);
    const shared = Math.floor((head * kvHeads * headDim) / n);
    const from = (shared * headDim + (row % headDim)) * headDim;
    whole.set(data.subarray(from, from + headDim), row * n + head * headDim);
  }
  return backend.upload(whole, [n, n]);
}

/**
 * Turns a block's linears in place, each on the sides that its site says; biases follow. The block
 * then computes on x Q what it did on x, given norms without gains: their gains must be folded into
 * the linears before. Without Q it computes what it did, whatever its norms are.
 *
 * @param linears by site
 * @throws the signal's reason when it was aborted
 */
export async function rotateBlock(
  backend: Backend,
  sites: readonly Site[],
  linears: Readonly<Record<string, BlockLinear>>,
  rotation: BlockRotation,
  signal?: AbortSignal,
): Promise<void> {
  const { q } = rotation;
  const take = (steps: Work) => paceSteps(steps, signal);
  for (const site of sites) {
    const { weight, bias } = linears[site.name];
    const { reads, writes } = turnsOf(site, q === undefined);
    const turnOutputs = async (turn: Tensor) => {
      await take(rowSteps(backend, weight, turn));
      if (bias) await take(columnSteps(backend, backend.rows(bias, 0, 1, bias.size), turn));
    };
    await pause(signal);
    if (reads === "q") await take(columnSteps(backend, weight, q!));
    if (writes === "q") await turnOutputs(q!);
    if (reads === "r2") {
      const inputs = await headRotation(backend, rotation, colsOf(weight));
      await take(columnSteps(backend, weight, inputs));
      inputs.dispose();
    }
    if (writes === "r2") {
      const outputs = await headRotation(backend, rotation, rowsOf(weight));
      await turnOutputs(outputs);
      outputs.dispose();
    }
  }
}

/**
 * The statistics of a linear's inputs after `rotateBlock`, from those before it (and after norms
 * without gains): turned by the R that turns the inputs, or read off one that is. What can be neither
 * is left out.
 *
 * @param site whose inputs they are
 * @param known the statistics by name
 * @returns new tensors, except for inputs that no rotation turns: those come back as they are
 * @throws PenjingError when one is there without the one that it is read off
 */
export async function rotateStatistics(
  backend: Backend,
  site: Site,
  before: Statistics,
  rotation: BlockRotation,
  known: Readonly<Record<string, Statistic>>,
  signal?: AbortSignal,
): Promise<Statistics> {
  const { sequences, tokens, tensors } = before;
  const names = Object.keys(tensors);
  const { reads } = turnsOf(site, rotation.q === undefined);
  if (!reads || names.length === 0) return before;
  const turned: Record<string, Tensor> = {};
  const isOfHeads = reads === "r2";
  const [, inFeatures] = site.shape;
  const turn = isOfHeads ? await headRotation(backend, rotation, inFeatures) : rotation.q!;
  const inputs: InputTurn = {
    columns: (w) => turnColumns(backend, w, turn),
    rows: (w) => turnRows(backend, w, turn),
  };
  for (const name of names.filter((one) => known[one].turn)) {
    await pause(signal);
    turned[name] = backend.zeros(tensors[name].shape);
    backend.copy(tensors[name], turned[name]);
    known[name].turn!(backend, turned[name], inputs);
  }
  if (isOfHeads) turn.dispose();
  for (const name of names) {
    const { from } = known[name];
    if (turned[name] || !from) continue;
    const other = turned[from.statistic];
    if (!other) {
      throw new PenjingError(
        site.name,
        `the ${name} of its inputs alone do not say what they become under a rotation; gather the ${from.statistic} too, or gather them again from the rotated block.`,
      );
    }
    turned[name] = await from.read(backend, other, sequences);
  }
  return { sequences, tokens, tensors: turned };
}
