import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import type { Statistics } from "../method.js";
import { type LinearName, SHARED_INPUT } from "../model.js";
import type { BlockLinear, HeadShape } from "../rotation.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";

/** Rows that are turned at a time, which bounds the scratch that an embedding takes. */
const ROWS_AT_ONCE = 1024;

/** A rotation of one block, as `optimiseRotation` finds it. */
export interface BlockRotation {
  /** [hidden, hidden] */
  readonly q: Tensor;
  /** [kvHeads * headDim, headDim] */
  readonly r2: Tensor;
  readonly heads: HeadShape;
}

/**
 * w [rows, n] = w Q with Q [n, n], in place: for linears that read the residual stream, for the
 * embedding, which begins it, and for the head.
 */
export function turnColumns(backend: Backend, w: Tensor, q: Tensor): void {
  const [rows, n] = [rowsOf(w), colsOf(w)];
  const scratch = backend.zeros([Math.min(rows, ROWS_AT_ONCE), n]);
  for (let start = 0; start < rows; start += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, rows - start);
    const [part, turned] = [backend.rows(w, start, count), backend.rows(scratch, 0, count)];
    backend.ops.gemm(part, q, turned);
    backend.copy(turned, part);
  }
  scratch.dispose();
}

/** w [n, cols] = Qᵀ w, in place: for linears that write to the residual stream. */
export function turnRows(backend: Backend, w: Tensor, q: Tensor): void {
  const turned = backend.zeros(w.shape);
  backend.ops.gemm(q, w, turned, { transposeA: true });
  backend.copy(turned, w);
  turned.dispose();
}

/** R2's matrices along a diagonal [n, n], each as often as query heads share it. */
async function headRotation(
  backend: Backend,
  r2: Tensor,
  { kvHeads, headDim }: HeadShape,
  heads: number,
): Promise<Tensor> {
  const data = (await backend.read(r2)) as Float32Array;
  const n = heads * headDim;
  const whole = new Float32Array(n * n);
  for (let row = 0; row < n; row++) {
    const head = Math.floor(row / headDim);
    const from = (Math.floor((head * kvHeads) / heads) * headDim + (row % headDim)) * headDim;
    whole.set(data.subarray(from, from + headDim), row * n + head * headDim);
  }
  return backend.upload(whole, [n, n]);
}

/**
 * Turns a block's linears in place: q, k, v, gate and up become W Q, o and down Qᵀ W, v's rows
 * R2ᵀ W and o's columns W R2; biases follow. The block then computes on x Q what it did on x, given
 * norms without gains: their gains must be folded into the linears before.
 */
export async function rotateBlock(
  backend: Backend,
  linears: Readonly<Record<LinearName, BlockLinear>>,
  { q, r2, heads }: BlockRotation,
): Promise<void> {
  const v = linears["self_attn.v_proj"];
  const o = linears["self_attn.o_proj"];
  for (const name of ["q", "k", "v"] as const) {
    turnColumns(backend, linears[`self_attn.${name}_proj`].weight, q);
  }
  for (const name of ["gate", "up"] as const) {
    turnColumns(backend, linears[`mlp.${name}_proj`].weight, q);
  }
  for (const { weight, bias } of [o, linears["mlp.down_proj"]]) {
    turnRows(backend, weight, q);
    if (bias) turnColumns(backend, bias, q);
  }
  const values = await headRotation(backend, r2, heads, heads.kvHeads);
  turnRows(backend, v.weight, values);
  if (v.bias) turnColumns(backend, v.bias, values);
  values.dispose();
  const outputs = await headRotation(backend, r2, heads, heads.heads);
  turnColumns(backend, o.weight, outputs);
  outputs.dispose();
}

/**
 * The statistics of a linear's inputs after `rotateBlock`, from those before it (and after norms
 * without gains): RᵀHR for the R that turns them, exact but for rounding. Column squares are read
 * off the turned Hessian.
 *
 * @param name whose inputs they are; down's are not turned and come back as they are
 * @returns new tensors, except for down
 * @throws PenjingError when there are column squares and no Hessian: a rotation mixes columns
 */
export async function rotateStatistics(
  backend: Backend,
  name: LinearName,
  statistics: Statistics,
  { q, r2, heads }: BlockRotation,
): Promise<Statistics> {
  const input = SHARED_INPUT[name];
  const { sequences, tokens, hessian, columnSquares } = statistics;
  if (input === "mlp.down_proj") return statistics;
  if (!hessian) {
    if (!columnSquares) return statistics;
    throw new PenjingError(
      name,
      "the column squares of its inputs alone do not say what they become under a rotation; gather the Hessian, or gather them again from the rotated block.",
    );
  }
  const isOutput = input === "self_attn.o_proj";
  const turn = isOutput ? await headRotation(backend, r2, heads, heads.heads) : q;
  const n = colsOf(hessian);
  const turned = backend.zeros([n, n]);
  backend.copy(hessian, turned);
  turnColumns(backend, turned, turn);
  turnRows(backend, turned, turn);
  if (isOutput) turn.dispose();
  // Rounding may tell the triangles apart, and methods read either.
  backend.ops.mirrorUpper(turned);
  if (!columnSquares) return { sequences, tokens, hessian: turned };
  const squares = backend.zeros([n]);
  backend.ops.diagonal(turned, squares);
  const diagonal = (await backend.read(squares)) as Float32Array;
  backend.write(
    squares,
    diagonal.map((h) => (h * sequences) / 2),
  );
  return { sequences, tokens, hessian: turned, columnSquares: squares };
}
