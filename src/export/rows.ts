import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import type { PenjingError } from "../errors.js";
import type { Layout, TensorEntry } from "../layout.js";
import { dense } from "../layouts/dense.js";
import { bitsOf } from "../layouts/parts/elements.js";
import { asStored } from "../models/placed.js";
import { PIECE_BYTES, readWeight, type StoredModel } from "../models/stored.js";
import { firstMisfit, notTwoFour } from "../pack.js";
import { sizeOf } from "../tensor.js";

/** Some bytes of a tensor of the output. */
export interface Part {
  readonly name: string;
  /** Byte of the tensor at which they begin. */
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** A stretch of a weight as the output stores it. */
export interface Stretch {
  readonly parts: readonly Part[];
  /** Share of the weight that it is. */
  readonly share: number;
}

/** Consecutive rows of a tensor, seen as a matrix. */
export interface Rows {
  readonly first: number;
  readonly count: number;
  /** Row-major, in the tensor's own dtype, unpacked. */
  readonly bytes: Uint8Array;
}

/** Rows and columns of a tensor seen as a matrix; a vector is one row. */
export function matrixOf({ shape }: TensorEntry): readonly [rows: number, cols: number] {
  return [sizeOf(shape.slice(0, -1)), shape.at(-1) ?? 1];
}

/** The layout that one weight is stored in: weights that a packing layout leaves alone are dense. */
export function layoutOfWeight({ packed, layout }: StoredModel, name: string): Layout {
  return packed.has(name) ? layout : dense;
}

/** Rows that are converted at a time: some MiB of them where both layouts pack by rows, else all. */
function rowsAtOnce(entry: TensorEntry, layouts: readonly Layout[]): number {
  const [rows, cols] = matrixOf(entry);
  if (!layouts.every(({ byRows }) => byRows)) return rows;
  return Math.max(1, Math.floor(PIECE_BYTES / (DTYPE_BYTES[entry.dtype] * cols)));
}

/**
 * Reads a weight row by row, in whichever layout it is stored.
 *
 * @param target the layout that its rows are then packed in
 */
export async function* readRows(
  model: StoredModel,
  name: string,
  target: Layout = dense,
): AsyncGenerator<Rows, void, void> {
  const { checkpoint } = model;
  const { dtype, shape } = model.weights.get(name)!;
  const entry = { name, dtype, shape };
  const layout = layoutOfWeight(model, name);
  const [rows, cols] = matrixOf(entry);
  if (model.sources.has(name)) {
    yield { first: 0, count: rows, bytes: await readWeight(model, name) };
    return;
  }
  const step = rowsAtOnce(entry, [layout, target]);
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const parts = new Map<string, Uint8Array>();
    for (const part of layout.entries(entry)) {
      const bytes = (checkpoint.tensors.get(part.name)!.byteLength / rows) * count;
      const start = (bytes / count) * first;
      parts.set(part.name, await checkpoint.readRange(part.name, start, bytes));
    }
    const slice = count === rows ? entry : { name, dtype, shape: [count, cols] };
    yield { first, count, bytes: layout.unpack(slice, parts) };
  }
}

/** A weight in another layout, or the same bytes where the target is dense and it was. */
export async function* convertRows(
  model: StoredModel,
  name: string,
  target: Layout,
): AsyncGenerator<Stretch, void, void> {
  const { dtype, shape } = model.weights.get(name)!;
  const [rows, cols] = matrixOf({ name, dtype, shape });
  for await (const { first, count, bytes } of readRows(model, name, target)) {
    const slice = { name, dtype, shape: count === rows ? shape : [count, cols] };
    const parts = [...target.pack(slice, bytes)].map(([part, stored]) => ({
      name: part,
      start: (stored.byteLength / count) * first,
      bytes: stored,
    }));
    yield { parts, share: count / rows };
  }
}

/** The rows of a dense weight as its family stores it, which transposes some, all at the end. */
export async function* asPlaced(
  model: StoredModel,
  name: string,
  rows: AsyncIterable<Stretch>,
): AsyncGenerator<Stretch, void, void> {
  if (!model.places.has(name)) {
    yield* rows;
    return;
  }
  const { dtype, shape } = model.weights.get(name)!;
  const bytes = new Uint8Array(sizeOf(shape) * DTYPE_BYTES[dtype]);
  for await (const { parts, share } of rows) {
    for (const part of parts) bytes.set(part.bytes, part.start);
    yield { parts: [], share };
  }
  const turned = asStored(model, { name, dtype, shape, bytes });
  yield { parts: [{ name, start: 0, bytes: turned.bytes }], share: 0 };
}

/** The stored tensors of a weight as they are. */
export async function* copyParts(
  model: StoredModel,
  name: string,
): AsyncGenerator<Stretch, void, void> {
  const { checkpoint } = model;
  const entries = layoutOfWeight(model, name).entries(model.weights.get(name)!);
  const lengths = entries.map((entry) => checkpoint.tensors.get(entry.name)!.byteLength);
  const total = lengths.reduce((sum, bytes) => sum + bytes, 0);
  for (const [i, part] of entries.entries()) {
    // An empty tensor is written too.
    for (let start = 0; start === 0 || start < lengths[i]; start += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, lengths[i] - start);
      const bytes = await checkpoint.readRange(part.name, start, length);
      yield { parts: [{ name: part.name, start, bytes }], share: total > 0 ? length / total : 1 };
    }
  }
}

/**
 * Why some rows of a matrix are not 2:4; undefined when they are.
 *
 * @param weight of a dtype that is packed
 */
export function firstMisfitOf(weight: TensorEntry, rows: Rows): PenjingError | undefined {
  const [, cols] = matrixOf(weight);
  const groups = Math.ceil(cols / 4);
  const bad = firstMisfit(bitsOf({ ...weight, shape: [rows.count, cols] }, rows.bytes), cols);
  return bad < 0 ? undefined : notTwoFour(weight.name, rows.first * groups + bad, 4 * groups);
}
