import type { Backend } from "../backend.js";
import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import type { Leaf } from "../form.js";
import { denseLeaf } from "../forms/leaf.js";
import { floatName, nameParts } from "../forms/names.js";
import { packedParts, SHAPE_PART, shapeBytes } from "../forms/packed-grid.js";
import { gridForm } from "../grid.js";
import type { FinishedTensor } from "../layout.js";
import { normalise } from "../models/layers/norm.js";
import { loadFinalNorm } from "../models/load.js";
import { PIECE_BYTES } from "../models/stored.js";
import { treeOf } from "../models/stored-forms.js";
import { nonFinite, uploadFloats } from "../models/weights.js";
import type { OptionsOf } from "../options.js";
import { rtn } from "../quantizers/rtn.js";
import { pause } from "../run.js";
import { formatSparsity } from "../sparsity.js";
import { StatisticsGatherer } from "../statistics-gatherer.js";
import { paceSteps } from "../steps.js";
import { type StoredDType, sizeOf, type Tensor } from "../tensor.js";
import { checkLayer } from "./check-layer.js";
import type { Steps } from "./pass.js";
import { disposeSolved, type LayerPlan, type LayerReport } from "./solve.js";
import { scaleTypeOf, storeForm } from "./store-form.js";
import type { RunTools } from "./transform.js";
import type { UnitWriter } from "./unit.js";

type RtnOptions = OptionsOf<typeof rtn.options>;

/** Windows of the stream that are looked at together, in tokens. */
const BATCH_TOKENS = 2048;

/**
 * Looks at what the head reads, the final norm's outputs, and keeps the sums of their squares in the
 * journal.
 *
 * @param part of the journal
 */
export async function* observeHead(
  { model, passes, journal }: RunTools,
  part: string,
): Steps<void> {
  const { backend, calibration, known, signal } = passes;
  const { stream, samples } = calibration;
  yield { phase: "advance", fraction: 1 };
  const norm = await loadFinalNorm(model, backend, signal);
  const wanted = [known.columnSquares];
  const shape = [model.spec.vocabSize, stream.cols] as const;
  const gatherer = new StatisticsGatherer(backend, shape, samples, wanted);
  const x = backend.zeros([Math.min(BATCH_TOKENS, stream.rows), stream.cols]);
  try {
    for (let first = 0; first < stream.rows; first += BATCH_TOKENS) {
      await pause(signal);
      const batch = backend.rows(x, 0, Math.min(BATCH_TOKENS, stream.rows - first));
      await stream.read(first, batch);
      normalise(backend, model.spec.finalNorm, batch, norm, batch);
      await paceSteps(gatherer.add(batch), signal);
    }
    const { tensors } = await gatherer.finish(part);
    const squares = (await backend.read(tensors.columnSquares)) as Float32Array;
    await journal.put(part, { facts: {}, arrays: new Map([["squares", squares]]) });
  } finally {
    gatherer.dispose();
    for (const tensor of [x, norm.gain, norm.bias]) tensor?.dispose();
  }
}

/** What is quantized, and how. */
export interface Table {
  /** Without ".weight". */
  readonly name: string;
  readonly plan: LayerPlan;
  /** [hiddenSize], sums of squares of what it is multiplied by. @default all errors weigh the same */
  readonly squares?: Float32Array | undefined;
}

/**
 * Quantizes the embedding or the head [vocabSize, hiddenSize] by rounding to nearest. Its rows do not
 * depend on one another: it is read, rounded and written piece by piece, as it can be larger than many
 * blocks.
 *
 * @throws PenjingError when it holds NaN or infinity, or a scale is beyond its dtype
 */
export async function quantizeTable(
  { model, passes: { backend } }: Pick<RunTools, "model" | "passes">,
  { name, plan, squares }: Table,
  unit: UnitWriter,
  signal: AbortSignal | undefined,
): Promise<LayerReport> {
  const weightName = `${name}.weight`;
  const { checkpoint, weights } = model;
  const { dtype, shape } = weights.get(weightName)!;
  const [rows, cols] = shape;
  const options = plan.options as unknown as RtnOptions;
  const isCodes = plan.stores === "codes";
  const form = isCodes ? gridForm([rows, cols], options) : denseLeaf(undefined, [rows, cols]);
  const named = nameParts(form, weightName, floatName({ dtype })) as Leaf<string>;
  const entries = isCodes
    ? codeEntries(named, dtype)
    : new Map([["values", { name: weightName, dtype, shape }]]);
  const rowBytes = DTYPE_BYTES[dtype] * cols;
  const step = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  const scales: Uint8Array[] = [];
  unit.announce({ ...entries.get("values")!, of: weightName });
  for (let first = 0; first < rows; first += step) {
    await pause(signal);
    const count = Math.min(step, rows - first);
    const bytes = await checkpoint.readRange(weightName, first * rowBytes, count * rowBytes);
    const piece = uploadFloats(backend, { name: weightName, dtype, shape: [count, cols] }, bytes);
    try {
      const bad = await backend.ops.countNonFinite(piece);
      if (bad > 0) throw nonFinite(checkpoint.folder.path, weightName, bad);
      const stored = await quantizeRows(backend, piece, {
        name,
        plan,
        named,
        dtype,
        squares,
        signal,
      });
      await unit.append(stored[0].bytes);
      if (isCodes) scales.push(stored[1].bytes);
    } finally {
      piece.dispose();
    }
  }
  if (isCodes) {
    await unit.add({ ...entries.get("scales")!, bytes: joined(scales) }, weightName);
    const told = shapeBytes([rows, cols]);
    await unit.add({ ...entries.get(SHAPE_PART)!, bytes: told }, weightName);
  }
  const kept = [...entries].filter(([part]) => part !== SHAPE_PART).map(([, entry]) => entry);
  const size = kept.reduce((sum, entry) => sum + sizeOf(entry.shape) * DTYPE_BYTES[entry.dtype], 0);
  return {
    name,
    method: plan.method.name,
    sparsity: formatSparsity(plan.sparsity),
    shape: [rows, cols],
    ...(isCodes && { form: treeOf(named) }),
    removed: 0,
    bitsPerWeight: (8 * size) / (rows * cols),
    figures: {},
    notes: [],
  };
}

/** The tensors of codes, by part. */
function codeEntries(named: Leaf<string>, dtype: StoredDType) {
  const scaleType = scaleTypeOf(dtype).toUpperCase() as StoredDType;
  return new Map(
    packedParts(named).map(({ name, dtypes, shape }) => {
      const type = name === "scales" ? scaleType : dtypes[0];
      return [name, { name: named.parts.get(name)!, dtype: type, shape }] as const;
    }),
  );
}

interface RowsOptions extends Table {
  readonly named: Leaf<string>;
  readonly dtype: StoredDType;
  readonly signal: AbortSignal | undefined;
}

/** Some rows of a table as they are stored: their codes and scales, or the values of these. */
async function quantizeRows(
  backend: Backend,
  weight: Tensor,
  { name, plan, named, dtype, squares, signal }: RowsOptions,
): Promise<FinishedTensor[]> {
  const { sparsity } = plan;
  const columnSquares = squares && backend.upload(squares, [squares.length]);
  const tensors: Record<string, Tensor> = columnSquares ? { columnSquares } : {};
  const statistics = { sequences: 0, tokens: 0, tensors };
  const scaleType = scaleTypeOf(dtype);
  const problem = { name, weight, statistics, sparsity, backend, scaleType, signal };
  const options = { ...(plan.options as unknown as RtnOptions), weighted: squares !== undefined };
  const made = await rtn.prune(problem, options).finally(() => columnSquares?.dispose());
  try {
    const [rows, cols] = weight.shape;
    const held = plan.stores === "codes" ? made.form! : denseLeaf(weight, [rows, cols]);
    const stored = await storeForm(backend, held, named, dtype);
    const mask = new Uint8Array(0);
    await checkLayer(backend, { name, stored, mask, sparsity, dense: undefined }, signal);
    return stored;
  } finally {
    disposeSolved({ weight: made.mask, form: made.form });
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
