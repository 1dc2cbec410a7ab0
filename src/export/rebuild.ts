import type { Backend } from "../backend.js";
import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import { decode } from "../decode.js";
import { PenjingError } from "../errors.js";
import type { Leaf } from "../form.js";
import { blocksLeaf, denseLeaf } from "../forms/leaf.js";
import { type CoreInBlocks, coreIn } from "../forms/names.js";
import type { TensorEntry } from "../layout.js";
import { blockTensor, sitesOf } from "../model.js";
import { loadDense } from "../models/load-form.js";
import { PIECE_BYTES, type StoredModel } from "../models/stored.js";
import { allOrNothing, downloadFloats, loadTensor, uploadFloats } from "../models/weights.js";
import { pause } from "../run.js";
import { rowsOf, type Tensor } from "../tensor.js";
import { paced, type Range, rangesOf, rowsWithin, type Tools } from "./ranges.js";
import { matrixOf, readRows, type Stretch } from "./rows.js";

/** What is said where a layout is asked for that changes nothing of codes. */
export const KEPT_CODES =
  "quantized weights stay codes; give `reconstruct` to store the values that they stand for";

/** Columns of a product that are made at a time, so that few rows are needed to make up for packing. */
const PANEL = 1024;

/** Multiply-adds whose time an element takes to be read and written: products of small blocks. */
const LEAST_COST = 128;

/** Which side of a tensor the residual stream is on, where it is on one. */
export type Side = "input" | "output" | undefined;

/**
 * The tensors of a block that must be computed anew, by name, and how: weights with a form, and
 * in turned coordinates all linears and the biases that are added to the residual stream.
 */
export function rebuiltTensors(
  { spec, forms }: StoredModel,
  layer: number,
  isTurned: boolean,
): ReadonlyMap<string, Side> {
  const rebuilt = new Map<string, Side>();
  for (const site of sitesOf(spec.blocks[layer])) {
    const name = blockTensor(spec, layer, `${site.name}.weight`);
    const writes = site.writes === "stream";
    if (isTurned) rebuilt.set(name, writes ? "output" : "input");
    else if (forms.has(name)) rebuilt.set(name, undefined);
    // A bias is a row of what the linear writes, so its columns are turned.
    const bias = blockTensor(spec, layer, `${site.name}.bias`);
    if (isTurned && writes && site.bias) rebuilt.set(bias, "input");
  }
  return rebuilt;
}

/** A weight on the backend as f32, cut into panels of columns [rows, count]. */
interface Panels {
  readonly ranges: readonly Range[];
  readonly tensors: readonly Tensor[];
}

/**
 * A weight W, or bias, as a plain checkpoint holds it, rounded to its dtype: its form decoded, then
 * W Qᵀ where it reads the residual stream or Q W where it writes to it.
 *
 * @param q [hidden, hidden]; undefined for a stream that was never turned
 * @throws PenjingError when a value that comes out is not finite in its dtype
 */
export async function* rebuild(
  tools: Tools,
  name: string,
  side: Side,
  q: Tensor | undefined,
): AsyncGenerator<Stretch, void, void> {
  const { model, backend, signal } = tools;
  const { dtype, shape } = model.weights.get(name)!;
  const [rows, cols] = matrixOf({ name, dtype, shape });
  const loaded = await loadPanels(tools, name, side === "output" ? PANEL : cols);
  try {
    const panels = side === "input" ? rangesOf(cols, PANEL) : loaded.ranges;
    const width = DTYPE_BYTES[dtype];
    const step = side ? rowsWithin(PANEL * rowsOf(q!)) : Math.ceil(PIECE_BYTES / (4 * cols));
    for (const { first, count } of rangesOf(rows, step)) {
      const bytes = new Uint8Array(count * cols * width);
      for (const [i, panel] of panels.entries()) {
        await pause(signal);
        const part = product(backend, loaded.tensors, side, q, { first, count }, panel, i);
        try {
          const made = await downloadFloats(backend, part, dtype);
          await refuseInfinite(tools, { name, dtype, shape: [count, panel.count] }, made);
          for (let row = 0; row < count; row++) {
            const line = made.subarray(row * panel.count * width, (row + 1) * panel.count * width);
            bytes.set(line, (row * cols + panel.first) * width);
          }
        } finally {
          // A view ignores this.
          part.dispose();
        }
      }
      yield { parts: [{ name, start: first * cols * width, bytes }], share: count / rows };
    }
  } finally {
    for (const tensor of loaded.tensors) tensor.dispose();
  }
}

/** Some rows and columns of W Qᵀ or Q W; of W itself, panel by panel, when no side is turned. */
function product(
  backend: Backend,
  weight: readonly Tensor[],
  side: Side,
  q: Tensor | undefined,
  rows: Range,
  panel: Range,
  index: number,
): Tensor {
  if (!side) return backend.rows(weight[index], rows.first, rows.count);
  const out = backend.zeros([rows.count, panel.count]);
  if (side === "input") {
    const part = backend.rows(weight[0], rows.first, rows.count);
    backend.ops.gemm(part, backend.rows(q!, panel.first, panel.count), out, { transposeB: true });
  } else {
    backend.ops.gemm(backend.rows(q!, rows.first, rows.count), weight[index], out);
  }
  return out;
}

/**
 * A weight as f32, its form decoded, in panels of about `wanted` columns. A core between blocks is
 * multiplied out panel by panel, blocks of B being whole; other forms are decoded at once.
 */
async function loadPanels(tools: Tools, name: string, wanted: number): Promise<Panels> {
  const { model, backend } = tools;
  const { dtype, shape } = model.weights.get(name)!;
  const [, cols] = matrixOf({ name, dtype, shape });
  const form = model.forms.get(name);
  const around = form && coreIn(form);
  if (form && !around) {
    const tensors = [await loadDense(model, backend, name, tools.signal)];
    return { ranges: [{ first: 0, count: cols }], tensors };
  }
  const block = around?.right.structure.size ?? 1;
  const panels = await readPanels(tools, name, rangesOf(cols, Math.ceil(wanted / block) * block));
  if (!around) return panels;
  try {
    await multiplyOut(tools, around, panels);
    return panels;
  } catch (error) {
    for (const tensor of panels.tensors) tensor.dispose();
    throw error;
  }
}

/** The values of a stored weight, unpacked, in panels of these columns. */
async function readPanels(
  { model, backend, signal }: Tools,
  name: string,
  ranges: readonly Range[],
): Promise<Panels> {
  const { dtype, shape } = model.weights.get(name)!;
  const [rows, cols] = matrixOf({ name, dtype, shape });
  const tensors = ranges.map(({ count }) => backend.zeros([rows, count]));
  const width = DTYPE_BYTES[dtype];
  try {
    for await (const { first, count, bytes } of readRows(model, name)) {
      await pause(signal);
      for (const [i, panel] of ranges.entries()) {
        const lines = new Uint8Array(count * panel.count * width);
        for (let row = 0; row < count; row++) {
          const start = (row * cols + panel.first) * width;
          const line = bytes.subarray(start, start + panel.count * width);
          lines.set(line, row * panel.count * width);
        }
        const part = uploadFloats(backend, { name, dtype, shape: [count, panel.count] }, lines);
        backend.copy(part, backend.rows(tensors[i], first, count));
        part.dispose();
      }
    }
    return { ranges, tensors };
  } catch (error) {
    for (const tensor of tensors) tensor.dispose();
    throw error;
  }
}

/** core = A core B in place. */
async function multiplyOut(
  { model, backend, signal }: Tools,
  { left, right }: CoreInBlocks,
  { ranges, tensors }: Panels,
): Promise<void> {
  const load = (leaf: Leaf<string>) =>
    loadTensor(model, backend, leaf.parts.get("values")!, signal);
  await allOrNothing(async (own) => {
    const [a, b] = [left.structure.size, right.structure.size];
    const lefts = own(await load(left));
    const rights = own(await load(right));
    for (const [i, core] of tensors.entries()) {
      const columns = ranges[i];
      const within = rowsWithin(columns.count * Math.max(LEAST_COST, a + b));
      const step = Math.max(1, Math.floor(within / a)) * a;
      for await (const { first, count } of paced(rangesOf(rowsOf(core), step), signal)) {
        const part = backend.rows(core, first, count);
        const made = await decode(backend, {
          kind: "product",
          factors: [
            blocksLeaf(backend.rows(lefts, first, count)),
            denseLeaf(part, [count, columns.count]),
            blocksLeaf(backend.rows(rights, columns.first, columns.count)),
          ],
        });
        backend.copy(made, part);
        made.dispose();
      }
    }
    for (const tensor of [lefts, rights]) tensor.dispose();
  });
}

/** Refuses stored values that are not finite: of a damaged weight, or too large for the dtype. */
async function refuseInfinite(
  { model, backend }: Tools,
  entry: TensorEntry,
  bytes: Uint8Array,
): Promise<void> {
  const stored = uploadFloats(backend, entry, bytes);
  const bad = await backend.ops.countNonFinite(stored);
  stored.dispose();
  if (bad === 0) return;
  throw new PenjingError(
    model.checkpoint.folder.path,
    `${bad} values of ${entry.name} are NaN or beyond ${entry.dtype} once it is multiplied out; export it without \`reconstruct\`, or compress the model again.`,
  );
}
