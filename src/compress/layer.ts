import type { Backend } from "../backend.js";
import { carry } from "../backends/carry.js";
import type { PreparedMatrix } from "../backends/operations/form.js";
import { decode } from "../decode.js";
import { type MatrixShape, mapLeaves, partsIn } from "../form.js";
import { denseLeaf, openLeaf, twoFourLeaf } from "../forms/leaf.js";
import { floatName, nameParts } from "../forms/names.js";
import { readCodes } from "../forms/packed-grid.js";
import { layerError } from "../layer-error.js";
import type { FinishedTensor, TensorEntry } from "../layout.js";
import { packSlots } from "../layouts/parts/two-of-four.js";
import { twoFour } from "../layouts/two-four.js";
import { densePeer } from "../layouts/two-four-int.js";
import type { Site } from "../model.js";
import type { BlockWeights, LinearWeight } from "../models/decoder.js";
import { loadDense } from "../models/load-form.js";
import type { StoredModel } from "../models/stored.js";
import { formBytes } from "../models/stored-bits.js";
import { formOfTree, treeOf } from "../models/stored-forms.js";
import { downloadFloats, uploadFloats, uploadHalves } from "../models/weights.js";
import { indexBytes } from "../pack.js";
import type { Snapshot } from "../snapshot.js";
import { formatSparsity } from "../sparsity.js";
import type { Statistics } from "../statistic.js";
import { type StoredDType, sizeOf, type Tensor } from "../tensor.js";
import { checkError, checkLayer, checkProduct } from "./check-layer.js";
import type { Journal } from "./journal.js";
import { disposeSolved, type LayerPlan, type LayerReport, solveLayer } from "./solve.js";
import { keptIn, scaleTypeOf, storeForm } from "./store-form.js";

/** A pruned layer as it is run, saved and reported. */
export interface PrunedLayer {
  readonly report: LayerReport;
  /** Each tensor to save, in the dtype of the weight, by its logical name. */
  readonly stored: readonly FinishedTensor[];
  /** What the block runs with from now on; owned by the caller. Shares the dense layer's bias. */
  readonly linear: LinearWeight;
  /** W - Ŵ while the error is still to be measured; owned by the caller. */
  readonly difference?: Tensor | undefined;
}

export interface PruneLayerOptions {
  readonly name: string;
  /** The backend that solves it, with the statistics there. @default that of its block */
  readonly home?: Backend | undefined;
  /** The dense weight, f32 [outFeatures, inFeatures], each time in a tensor of its own where it is solved. */
  readonly dense: () => Promise<Tensor>;
  /** What an earlier step made of it, whose zeros stay: its values are quantized. @default nothing */
  readonly before?: PrunedLayer | undefined;
  readonly bias: Tensor | undefined;
  readonly dtype: StoredDType;
  readonly plan: LayerPlan;
  readonly statistics: Statistics;
  /** As of `SolveOptions`. */
  readonly isLast?: boolean | undefined;
  readonly seed: number;
  /** The fewest tokens that go through the layer together. @default 1 */
  readonly fewestTokens?: number | undefined;
  /** Whether the layer's error is wanted. */
  readonly measure: boolean;
  /** Most seconds of optimisation. */
  readonly seconds: number | undefined;
  readonly journal: Journal;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (fraction: number) => void;
}

/** What pruning a layer gives, before its error is known. */
interface Finished {
  readonly report: LayerReport;
  readonly stored: readonly FinishedTensor[];
}

/** Names in the journal of a layer's result, and of the state of its optimisation. */
export function layerParts(
  name: string,
  { stores }: Pick<LayerPlan, "stores"> = {},
): readonly [result: string, state: string] {
  // One that is pruned and then quantized has both results.
  const part = stores ? `${name}.grid` : name;
  return [part, `${part}.state`];
}

/** All of them, whatever was done to the layer. */
export function allLayerParts(name: string): string[] {
  return [{}, { stores: "codes" } as const].flatMap((way) => layerParts(name, way));
}

/**
 * Prunes one layer, unless the journal has it, and opens what came out as it is rounded to the dtype
 * that it is saved in.
 *
 * @param backend that its block runs on
 */
export async function pruneLayer(
  backend: Backend,
  options: PruneLayerOptions,
): Promise<PrunedLayer> {
  const { name, journal, plan, home = backend } = options;
  const open = async (finished: Finished) => {
    if (home === backend) return openPruned(backend, finished, options);
    const there = await openPruned(home, finished, options);
    discardPruned(there);
    const { report, stored } = there;
    return openPruned(backend, { report, stored }, { ...options, measure: false });
  };
  const [part, state] = layerParts(name, plan);
  const known = journal.isLasting ? await journal.load(part) : undefined;
  if (known) {
    const { report, entries } = known.facts as { report: LayerReport; entries: TensorEntry[] };
    const stored = entries.map((entry) => ({ ...entry, bytes: bytesIn(known, entry.name) }));
    return open({ report, stored });
  }
  const finished = await prune(home, options);
  const { report, stored } = finished;
  const entries = stored.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const arrays = new Map(stored.map((tensor) => [tensor.name, tensor.bytes]));
  await journal.save(part, { facts: { report, entries }, arrays });
  journal.drop([state]);
  return open(finished);
}

function bytesIn({ arrays }: Snapshot, name: string): Uint8Array {
  return arrays.get(name) as Uint8Array;
}

async function prune(backend: Backend, options: PruneLayerOptions): Promise<Finished> {
  const { name, dtype, plan, statistics, isLast, signal, before } = options;
  const { seed, onProgress, seconds } = options;
  const keeper = options.journal.keeper(layerParts(name, plan)[1]);
  const original = await options.dense();
  const kept = before && backend.upload(keptIn(before.stored[0]), original.shape);
  const given = { name, original, plan, statistics, mask: kept, scaleType: scaleTypeOf(dtype) };
  const start = before && uploadFloats(backend, before.stored[0], before.stored[0].bytes);
  const problem = { ...given, before: start, isLast, seed, seconds, keeper, signal, onProgress };
  const solved = await solveLayer(backend, problem)
    .catch((error) => {
      kept?.dispose();
      throw error;
    })
    .finally(() => start?.dispose());
  const { weight, form, mask, report } = solved;
  try {
    const held = form ?? denseLeaf(weight, report.shape);
    const named = nameParts(held, `${name}.weight`, floatName({ dtype }));
    const stored = await storeForm(backend, held, named, dtype);
    const dense = form ? undefined : stored[0];
    await checkLayer(backend, { name, stored, mask, sparsity: plan.sparsity, dense }, signal);
    const sizes = new Map(stored.map((tensor) => [tensor.name, tensor.bytes.length]));
    const size = formBytes(named, (tensor) => sizes.get(tensor)!);
    const bits = plan.stores && { bitsPerWeight: (8 * size) / sizeOf(report.shape) };
    const peer = densePeer(held);
    const more = { ...bits, ...(peer && { peer }), ...(form && { form: treeOf(named) }) };
    return { report: { ...report, ...more }, stored };
  } finally {
    disposeSolved(solved);
    kept?.dispose();
  }
}

/** Puts a pruned layer on the backend, rounded as it is saved, and measures its error. */
async function openPruned(
  backend: Backend,
  { report, stored }: Finished,
  { name, dense, bias, statistics, measure, plan, fewestTokens = 1, signal }: PruneLayerOptions,
): Promise<PrunedLayer> {
  const { packsFrom } = backend;
  const isTwoFour = formatSparsity(plan.sparsity) === "2:4";
  const packs = isTwoFour && packsFrom !== undefined && fewestTokens >= packsFrom;
  const made: { dispose(): void }[] = [];
  const scratch: Tensor[] = [];
  const own = <Made extends { dispose(): void }>(tensor: Made) => {
    made.push(tensor);
    return tensor;
  };
  try {
    const { form, shape } = report;
    const named = form ? formOfTree(form, name) : denseLeaf(`${name}.weight`, shape);
    const held = await mapLeaves(named, (leaf) =>
      openLeaf(leaf, async (tensor, rule) => {
        const finished = stored.find((one) => one.name === tensor)!;
        return own(
          rule.dtype === "u8"
            ? backend.upload(readCodes(leaf, rule, finished.dtype, finished.bytes)!, rule.shape)
            : uploadFloats(backend, finished, finished.bytes),
        );
      }),
    );
    const parts = partsIn(held);
    const prepared = form ? undefined : await prepareStored(backend, stored[0], shape, packs);
    if (prepared) own(prepared);
    if (form || prepared) scratch.push(...parts);
    let [error, difference]: [number?, Tensor?] = [];
    if (measure) {
      const { hessian } = statistics.tensors;
      const original = await dense();
      scratch.push(original);
      const effective = form ? await decode(backend, held) : parts[0];
      try {
        if (hessian) {
          error = await layerError(backend, original, effective, hessian, signal);
          await checkError(backend, name, original, effective, hessian);
        } else {
          difference = own(backend.zeros(original.shape));
          backend.ops.subtract(original, effective, difference);
        }
      } finally {
        if (form) effective.dispose();
      }
    }
    const weight = form ? own(await backend.ops.prepare(held)) : (prepared ?? parts[0]);
    await checkProduct(backend, name, named, stored, weight);
    const measured = error === undefined ? report : { ...report, layerError: error };
    return { report: measured, stored, linear: { weight, bias }, difference };
  } catch (cause) {
    for (const tensor of made) tensor.dispose();
    throw cause;
  } finally {
    for (const tensor of scratch) tensor.dispose();
  }
}

/**
 * A weight held for products: packed, or in the 16 bits that it is stored in; undefined where products would
 * differ by it from those with its values in f32.
 */
async function prepareStored(
  backend: Backend,
  weight: FinishedTensor,
  shape: MatrixShape,
  packs: boolean,
): Promise<PreparedMatrix | undefined> {
  const half = backend.halfFormats.find((one) => one.toUpperCase() === weight.dtype);
  const [rows, cols] = shape;
  const made: Tensor[] = [];
  const put = (tensor: Tensor) => {
    made.push(tensor);
    return tensor;
  };
  const upload = (bytes: Uint8Array, shape: MatrixShape) =>
    put(half ? uploadHalves(backend, bytes, shape) : uploadFloats(backend, weight, bytes, shape));
  try {
    if (packs && !twoFour.refusal(weight)) {
      const { values, indices } = packSlots(weight, weight.bytes);
      const codes = put(backend.upload(indices, [rows, indexBytes(cols)]));
      const slots = upload(values, [rows, cols / 2]);
      return await backend.ops.prepare(twoFourLeaf(slots, codes, shape, half));
    }
    return half && (await backend.ops.prepare(denseLeaf(upload(weight.bytes, shape), shape, half)));
  } finally {
    for (const tensor of made) tensor.dispose();
  }
}

/** Frees what a pruned layer owns. */
export function discardPruned({ linear, difference }: PrunedLayer): void {
  linear.weight.dispose();
  difference?.dispose();
}

/** The same block with its pruned linears in place. */
export function withPruned(
  block: BlockWeights,
  pruned: ReadonlyMap<string, PrunedLayer>,
): BlockWeights {
  const linears = { ...block.linears };
  for (const [name, { linear }] of pruned) linears[name] = linear;
  return { ...block, linears };
}

/**
 * The dense weight of a linear in an f32 tensor of the caller's: a copy of the block's own, which steps
 * may have turned, or read anew where the block holds it in 16 bits.
 *
 * @param backends that of the block, and that of the tensor
 */
export async function openDense(
  model: StoredModel,
  { backend, home = backend }: { readonly backend: Backend; readonly home?: Backend | undefined },
  block: BlockWeights,
  { name }: Pick<Site, "name">,
  signal: AbortSignal | undefined,
): Promise<Tensor> {
  const { weight } = block.linears[name];
  if (!("dtype" in weight)) {
    return loadDense(model, home, `${block.name}.${name}.weight`, signal);
  }
  const copy = home.zeros(weight.shape);
  await carry(backend, weight, home, copy);
  return copy;
}

/** Rounds a tensor to a dtype in place, so that what is run is what is saved; its bytes. */
export async function round(
  backend: Backend,
  tensor: Tensor,
  dtype: StoredDType,
): Promise<Uint8Array> {
  const bytes = await downloadFloats(backend, tensor, dtype);
  if (dtype === "BF16" || dtype === "F16") {
    const bits = backend.upload(new Uint16Array(bytes.buffer), tensor.shape);
    backend.ops.widen(bits, tensor, dtype === "BF16" ? "bf16" : "f16");
    bits.dispose();
  }
  return bytes;
}
