/** Puts what a stored model multiplies by on a backend: matrices in their forms, blocks, tables. */
import type { Backend, HalfFormat } from "../backend.js";
import type { PreparedMatrix, Weight } from "../backends/operations/form.js";
import { decode } from "../decode.js";
import { PenjingError } from "../errors.js";
import { inputRotation, OUTPUT_ROTATION } from "../extras.js";
import {
  childrenOf,
  type FloatName,
  type Form,
  formOf,
  type Leaf,
  mapLeaves,
  partsIn,
} from "../form.js";
import { denseLeaf, leafDamage, openLeaf, twoFourLeaf } from "../forms/leaf.js";
import { isPlainLeaf } from "../forms/names.js";
import type { PartRule } from "../forms/rules.js";
import type { TensorEntry } from "../layout.js";
import { bitsOf } from "../layouts/parts/elements.js";
import { twoFour } from "../layouts/two-four.js";
import { blockTensor, FINAL_NORM, normsOf, sitesOf } from "../model.js";
import { checkTwoFourIndices, firstMisfit } from "../pack.js";
import type { Tensor } from "../tensor.js";
import type { BlockWeights, LinearWeight, OuterWeights } from "./decoder.js";
import { embeddingName, headName, readWeight, type StoredModel } from "./stored.js";
import { sharedIn } from "./stored-forms.js";
import { allOrNothing, loadTensor, refuseNonFinite, uploadFloats } from "./weights.js";

/**
 * The parts of a packed weight in the layout two-four, the one that the kernels read; undefined when it
 * is packed in another way and is not 2:4.
 */
async function readTwoFour(
  model: StoredModel,
  entry: TensorEntry,
): Promise<ReadonlyMap<string, Uint8Array> | undefined> {
  const { layout, checkpoint } = model;
  if (layout.name === twoFour.name) {
    const parts = new Map<string, Uint8Array>();
    for (const { name } of twoFour.entries(entry)) parts.set(name, await checkpoint.read(name));
    return parts;
  }
  const bytes = await readWeight(model, entry.name);
  if (layout.holds === "any") {
    if (twoFour.refusal(entry) || firstMisfit(bitsOf(entry, bytes), entry.shape[1]) >= 0)
      return undefined;
  }
  return twoFour.pack(entry, bytes);
}

/** Weights on a backend, and what they are: f32, or u16 holding f16 or bf16. */
interface Factors {
  readonly tensor: Tensor;
  readonly dtype: FloatName;
}

/**
 * Loads a linear's weight, or the values of one, to multiply by: in 16 bits as stored where the backend
 * reads them; bf16 as f16 where it reads that alone and no value changes by more than 2^-25; else f32.
 * bf16 has less precision than f16 but a wider range: values beyond it stay f32.
 */
async function loadFactors(
  model: StoredModel,
  backend: Backend,
  entry: TensorEntry,
  bytes: Uint8Array,
): Promise<Factors> {
  const tensor = uploadFloats(backend, entry, bytes);
  await refuseNonFinite(backend, tensor, model.checkpoint.folder.path, entry.name);
  if (entry.dtype !== "F16" && entry.dtype !== "BF16") return { tensor, dtype: "f32" };
  const stored = entry.dtype.toLowerCase() as HalfFormat;
  const format = backend.halfFormats.includes(stored) ? stored : backend.halfFormats[0];
  if (!format) return { tensor, dtype: "f32" };
  const half = backend.zeros(tensor.shape, "u16");
  backend.ops.narrow(tensor, half, format);
  backend.ops.widen(half, tensor, format);
  const overflown = format === stored ? 0 : await backend.ops.countNonFinite(tensor);
  tensor.dispose();
  if (overflown === 0) return { tensor: half, dtype: format };
  half.dispose();
  return { tensor: uploadFloats(backend, entry, bytes), dtype: "f32" };
}

/** A weight as the layout stores it, to multiply by: 2:4 where it is packed so, else dense. */
async function loadStored(model: StoredModel, backend: Backend, name: string): Promise<Leaf> {
  const entry = model.weights.get(name)!;
  const [rows, cols] = entry.shape;
  const packed = model.packed.has(name) ? await readTwoFour(model, entry) : undefined;
  if (!packed) {
    const bytes = await readWeight(model, name);
    const { tensor, dtype } = await loadFactors(model, backend, entry, bytes);
    return denseLeaf(tensor, [rows, cols], dtype);
  }
  const [valueEntry, indexEntry] = twoFour.entries(entry);
  const indices = packed.get(indexEntry.name)!;
  checkTwoFourIndices(indexEntry.name, indices, rows, cols);
  const valueBytes = packed.get(valueEntry.name)!;
  const { tensor, dtype } = await loadFactors(model, backend, { ...valueEntry, name }, valueBytes);
  const codes = backend.upload(indices, indexEntry.shape);
  return twoFourLeaf(tensor, codes, [rows, cols], dtype);
}

/**
 * A leaf's parts on the backend: floats of a dense or an n:m leaf as they are multiplied by, others
 * widened to f32.
 *
 * @param exact widen all floats. @default false
 */
function loadLeaf(
  model: StoredModel,
  backend: Backend,
  leaf: Leaf<string>,
  { exact = false } = {},
): Promise<Leaf> {
  const values = leaf.parts.get("values")!;
  if (isPlainLeaf(leaf) && !exact) return loadStored(model, backend, values);
  return allOrNothing(async (own) => {
    const codes = new Map<string, Uint8Array>();
    let { numbers } = leaf;
    const open = async (tensor: string, { name, dtype, shape }: PartRule) => {
      if (dtype === "u8") {
        const bytes = await readWeight(model, tensor);
        codes.set(name, bytes);
        return own(backend.upload(bytes, shape));
      }
      if (name === "scales" || leaf.structure.kind !== "n:m" || exact) {
        return own(await loadTensor(model, backend, tensor));
      }
      const entry = model.weights.get(tensor)!;
      const factors = await loadFactors(model, backend, entry, await readWeight(model, tensor));
      numbers = { kind: "float", dtype: factors.dtype };
      return own(factors.tensor);
    };
    const opened = await openLeaf(leaf, open);
    const damage = leafDamage({ ...leaf, parts: codes });
    if (damage) {
      const cure = "the checkpoint is damaged, compress the model again.";
      throw new PenjingError(model.checkpoint.folder.path, `${values}: ${damage}; ${cure}`);
    }
    return numbers === leaf.numbers ? opened : { ...opened, numbers };
  });
}

/** Frees the parts of a form. */
export function disposeForm(form: Form): void {
  for (const part of partsIn(form)) part.dispose();
}

/** All leaves of a form on the backend. */
function loadForm(
  model: StoredModel,
  backend: Backend,
  form: Form<string>,
  options?: { readonly exact: boolean },
): Promise<Form> {
  return allOrNothing((own) =>
    mapLeaves(form, async (leaf) => {
      const loaded = await loadLeaf(model, backend, leaf, options);
      own({ dispose: () => disposeForm(loaded) });
      return loaded;
    }),
  );
}

/**
 * Loads a weight as the dense f32 matrix that it stands for, whichever form it has.
 *
 * @throws PenjingError when it holds NaN or infinity
 */
export async function loadDense(
  model: StoredModel,
  backend: Backend,
  name: string,
): Promise<Tensor> {
  const form = model.forms.get(name);
  if (!form) return loadTensor(model, backend, name);
  if (form.kind === "shared") return loadDense(model, backend, form.of);
  // What a part shares is put in its place: here nothing is held by two.
  const whole = inPlace(model, form);
  const loaded = await loadForm(model, backend, whole, { exact: true });
  try {
    return await decode(backend, loaded);
  } finally {
    disposeForm(loaded);
  }
}

/** A form with the forms of other weights in the place of those that it shares. */
function inPlace(model: StoredModel, form: Form<string>): Form<string> {
  if (form.kind === "leaf") return form;
  if (form.kind !== "shared") {
    return formOf(
      form.kind,
      childrenOf(form).map((child) => inPlace(model, child)),
    );
  }
  const { shape } = model.weights.get(form.of)!;
  const other = model.forms.get(form.of);
  return other ? inPlace(model, other) : denseLeaf(form.of, [shape[0], shape[1]]);
}

/** Matrices that several layers multiply by: each is loaded once, and freed with its last user. */
export class SharedMatrices {
  private readonly loaded = new Map<string, { matrix: PreparedMatrix; users: number }>();

  /** The matrix of this name for one more user, who disposes it. */
  async take(name: string, load: () => Promise<PreparedMatrix>): Promise<PreparedMatrix> {
    const held = this.loaded.get(name) ?? { matrix: await load(), users: 0 };
    this.loaded.set(name, held);
    held.users++;
    let isUsed = true;
    const dispose = () => {
      if (isUsed) held.users--;
      isUsed = false;
      if (held.users > 0) return;
      this.loaded.delete(name);
      held.matrix.dispose();
    };
    return { ...held.matrix, dispose };
  }
}

/** Loads a weight to multiply by; one in f32 needs no preparation. */
async function loadMatrix(
  model: StoredModel,
  backend: Backend,
  name: string,
  matrices: SharedMatrices,
): Promise<Weight> {
  const shape = model.weights.get(name)!.shape;
  const form = model.forms.get(name) ?? denseLeaf(name, [shape[0], shape[1]]);
  const prepare = async (): Promise<PreparedMatrix> => {
    const taken = new Map<string, PreparedMatrix[]>();
    for (const of of sharedIn(form)) {
      const matrix = await loadMatrix(model, backend, of, matrices);
      taken.set(of, [...(taken.get(of) ?? []), matrix as PreparedMatrix]);
    }
    const loaded = await loadForm(model, backend, form);
    try {
      return await backend.ops.prepare(loaded, { shared: (of) => taken.get(of)!.pop()! });
    } finally {
      disposeForm(loaded);
    }
  };
  const isShared = [...model.forms.values()].some((other) => sharedIn(other).includes(name));
  if (isShared) return matrices.take(name, prepare);
  if (!isPlainLeaf(form)) return prepare();
  const leaf = await loadStored(model, backend, name);
  if (isPlainLeaf(leaf) && leaf.numbers.kind === "float" && leaf.numbers.dtype === "f32") {
    return leaf.parts.get("values")!;
  }
  try {
    return await backend.ops.prepare(leaf);
  } finally {
    disposeForm(leaf);
  }
}

/** Loads the embedding or the head, in 16 bits where the backend reads them as they are stored. */
async function loadTable(model: StoredModel, backend: Backend, name: string): Promise<Weight> {
  const format = model.weights.get(name)!.dtype.toLowerCase() as HalfFormat;
  if (model.forms.has(name) || !backend.halfFormats.includes(format)) {
    return loadDense(model, backend, name);
  }
  return loadMatrix(model, backend, name, new SharedMatrices());
}

/** Loads a turn x R of the residual stream as the matrix Rᵀ to multiply by. */
async function loadTurn(model: StoredModel, backend: Backend, name: string): Promise<Tensor> {
  const turn = await loadTensor(model, backend, name);
  const matrix = backend.zeros(turn.shape);
  backend.ops.transpose(turn, matrix);
  turn.dispose();
  return matrix;
}

export interface LoadOptions {
  /** Give linears and tables as f32 tensors, to change them. @default as they are multiplied by */
  readonly dense?: boolean | undefined;
  /** Where matrices are that other layers multiply by too. @default such matrices are loaded anew */
  readonly matrices?: SharedMatrices | undefined;
}

/** Loads the parameters of one decoder block. */
export function loadBlock(
  model: StoredModel,
  backend: Backend,
  layer: number,
  { dense = false, matrices = new SharedMatrices() }: LoadOptions = {},
): Promise<BlockWeights> {
  const { blocks } = model.spec;
  const spec = blocks[layer];
  return allOrNothing(async (own) => {
    const load = async (name: string) =>
      own(await loadTensor(model, backend, blockTensor(layer, name)));
    const turn = async (name: string) =>
      model.weights.has(name) ? own(await loadTurn(model, backend, name)) : undefined;
    const linears: Record<string, LinearWeight> = {};
    for (const { name, bias: hasBias } of sitesOf(spec)) {
      const weightName = blockTensor(layer, `${name}.weight`);
      const weight = dense
        ? await loadDense(model, backend, weightName)
        : await loadMatrix(model, backend, weightName, matrices);
      own(weight);
      const bias = hasBias ? await load(`${name}.bias`) : undefined;
      linears[name] = { weight, bias };
    }
    const norms: Record<string, Tensor> = {};
    for (const { name } of normsOf(spec)) norms[name] = await load(`${name}.weight`);
    return {
      ...{ layer, spec, norms, linears },
      inputRotation: await turn(inputRotation(layer)),
      outputRotation: layer + 1 === blocks.length ? await turn(OUTPUT_ROTATION) : undefined,
    };
  });
}

/** Loads what stands outside the blocks. */
export function loadOuter(
  model: StoredModel,
  backend: Backend,
  { dense = false }: LoadOptions = {},
): Promise<OuterWeights> {
  const load = dense ? loadDense : loadTable;
  return allOrNothing(async (own) => {
    const embedding = own(await load(model, backend, embeddingName(model)));
    const finalNorm = own(await loadTensor(model, backend, FINAL_NORM));
    const tied = headName(model) === embeddingName(model);
    const head = tied ? embedding : await load(model, backend, headName(model));
    return { embedding, finalNorm, head };
  });
}
