import type { Backend, DenseMatrix, HalfFormat } from "./backend.js";
import { toFloat32 } from "./checkpoint/dtype.js";
import type { BlockWeights, LinearWeight, OuterWeights } from "./decoder.js";
import { PenjingError } from "./errors.js";
import { inputRotation, OUTPUT_ROTATION, sandwichNames } from "./extras.js";
import type { TensorEntry } from "./layout.js";
import { bitsOf } from "./layouts/parts/elements.js";
import { twoFour } from "./layouts/two-four.js";
import { blockTensor, FINAL_NORM, hasBias, LINEAR_NAMES, type LinearName } from "./model.js";
import { checkTwoFourIndices, firstMisfit } from "./pack.js";
import { embeddingName, headName, readWeight, type StoredModel } from "./stored-model.js";
import { type StoredDType, sizeOf, type Tensor } from "./tensor.js";

/** Puts values stored as `entry.dtype` on a backend as f32; bf16 and f16 are widened there. */
export function uploadFloats(
  backend: Backend,
  entry: TensorEntry,
  bytes: Uint8Array,
  shape: readonly number[] = entry.shape,
): Tensor {
  if (entry.dtype !== "BF16" && entry.dtype !== "F16") {
    return backend.upload(toFloat32(entry, bytes), shape);
  }
  const bits = backend.upload(
    new Uint16Array(bytes.buffer, bytes.byteOffset, sizeOf(shape)),
    shape,
  );
  const tensor = backend.zeros(shape);
  backend.ops.widen(bits, tensor, entry.dtype.toLowerCase() as HalfFormat);
  bits.dispose();
  return tensor;
}

/** The bytes of an f32 tensor rounded to `dtype`, to nearest, ties to even. */
export async function downloadFloats(
  backend: Backend,
  tensor: Tensor,
  dtype: StoredDType,
): Promise<Uint8Array> {
  if (dtype === "F32") return new Uint8Array(((await backend.read(tensor)) as Float32Array).buffer);
  if (dtype === "F64") {
    return new Uint8Array(Float64Array.from((await backend.read(tensor)) as Float32Array).buffer);
  }
  const bits = backend.zeros(tensor.shape, "u16");
  backend.ops.narrow(tensor, bits, dtype.toLowerCase() as HalfFormat);
  const rounded = (await backend.read(bits)) as Uint16Array;
  bits.dispose();
  return new Uint8Array(rounded.buffer);
}

/**
 * Loads one parameter as f32.
 *
 * @throws PenjingError when it holds NaN or infinity
 */
export async function loadTensor(
  model: StoredModel,
  backend: Backend,
  name: string,
): Promise<Tensor> {
  const tensor = uploadFloats(backend, model.weights.get(name)!, await readWeight(model, name));
  await refuseNonFinite(backend, tensor, model.checkpoint.folder.path, name);
  return tensor;
}

async function refuseNonFinite(
  backend: Backend,
  tensor: Tensor,
  where: string,
  name: string,
): Promise<void> {
  const bad = await backend.ops.countNonFinite(tensor);
  if (bad === 0) return;
  tensor.dispose();
  throw nonFinite(where, name, bad);
}

/** The error of a checkpoint's tensor that holds `bad` values that are NaN or infinite. */
export function nonFinite(where: string, name: string, bad: number): PenjingError {
  return new PenjingError(
    where,
    `the tensor ${name} holds ${bad} values that are NaN or infinite; the checkpoint is damaged, fetch it again.`,
  );
}

/** What loading makes and an error must free again. */
interface Disposable {
  dispose(): void;
}

/** Runs `load`; when it fails, what it had given to `own` by then is freed. */
export async function allOrNothing<T>(
  load: (own: <Made extends Disposable>(made: Made) => Made) => Promise<T>,
): Promise<T> {
  const owned: Disposable[] = [];
  try {
    return await load((made) => {
      owned.push(made);
      return made;
    });
  } catch (error) {
    for (const made of owned) made.dispose();
    throw error;
  }
}

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

/** Weights on a backend, and what it has to know to read them. */
interface Factors {
  readonly tensor: Tensor;
  /** Of a tensor of u16; undefined where it is f32. */
  readonly format?: HalfFormat;
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
  if (entry.dtype !== "F16" && entry.dtype !== "BF16") return { tensor };
  const stored = entry.dtype.toLowerCase() as HalfFormat;
  const format = backend.halfFormats.includes(stored) ? stored : backend.halfFormats[0];
  if (!format) return { tensor };
  const half = backend.zeros(tensor.shape, "u16");
  backend.ops.narrow(tensor, half, format);
  backend.ops.widen(half, tensor, format);
  const overflown = format === stored ? 0 : await backend.ops.countNonFinite(tensor);
  tensor.dispose();
  if (overflown === 0) return { tensor: half, format };
  half.dispose();
  return { tensor: uploadFloats(backend, entry, bytes) };
}

/** Loads a dense weight to multiply by, prepared where that keeps it in 16 bits. */
async function loadDense(
  model: StoredModel,
  backend: Backend,
  name: string,
): Promise<Tensor | DenseMatrix> {
  const entry = model.weights.get(name)!;
  const { tensor, format } = await loadFactors(
    model,
    backend,
    entry,
    await readWeight(model, name),
  );
  if (!format) return tensor;
  const matrix = backend.ops.prepareLinear(tensor, { format });
  tensor.dispose();
  return matrix;
}

/** Loads the embedding or the head, in 16 bits where the backend reads them as they are stored. */
function loadFewBits(
  model: StoredModel,
  backend: Backend,
  name: string,
): Promise<Tensor | DenseMatrix> {
  const format = model.weights.get(name)!.dtype.toLowerCase() as HalfFormat;
  return backend.halfFormats.includes(format)
    ? loadDense(model, backend, name)
    : loadTensor(model, backend, name);
}

function loadLinear(
  model: StoredModel,
  backend: Backend,
  layer: number,
  linear: LinearName,
  unpack: boolean,
): Promise<LinearWeight> {
  const name = blockTensor(layer, `${linear}.weight`);
  return allOrNothing(async (own) => {
    const bias = hasBias(model.spec, linear)
      ? own(await loadTensor(model, backend, blockTensor(layer, `${linear}.bias`)))
      : undefined;
    const factors = sandwichNames(name);
    const sandwich = model.weights.has(factors.left)
      ? {
          left: own(await loadTensor(model, backend, factors.left)),
          right: own(await loadTensor(model, backend, factors.right)),
        }
      : undefined;
    const entry = model.weights.get(name)!;
    const isPacked = !unpack && model.packed.has(name);
    const parts = isPacked ? await readTwoFour(model, entry) : undefined;
    if (!parts) {
      const weight = unpack
        ? await loadTensor(model, backend, name)
        : await loadDense(model, backend, name);
      return { kind: "dense", weight, bias, sandwich };
    }
    const [valueEntry, indexEntry] = twoFour.entries(entry);
    const valueBytes = parts.get(valueEntry.name)!;
    const named = { ...valueEntry, name };
    const { tensor: values, format } = await loadFactors(model, backend, named, valueBytes);
    own(values);
    const indexBytes = parts.get(indexEntry.name)!;
    checkTwoFourIndices(indexEntry.name, indexBytes, entry.shape[0], entry.shape[1]);
    const indices = own(backend.upload(indexBytes, indexEntry.shape));
    const options = format && { format };
    const weight = backend.ops.prepareTwoFour(values, indices, entry.shape[1], options);
    values.dispose();
    indices.dispose();
    return { kind: "two-four", weight, bias, sandwich };
  });
}

/**
 * Loads the parameters of one decoder block.
 *
 * @param unpack make packed linears dense, to change them; else they stay packed. @default false
 */
export function loadBlock(
  model: StoredModel,
  backend: Backend,
  layer: number,
  unpack = false,
): Promise<BlockWeights> {
  return allOrNothing(async (own) => {
    const load = async (name: string) =>
      own(await loadTensor(model, backend, blockTensor(layer, name)));
    const rotation = async (name: string) =>
      model.weights.has(name) ? own(await loadTensor(model, backend, name)) : undefined;
    const linears: Partial<Record<LinearName, LinearWeight>> = {};
    for (const name of LINEAR_NAMES) {
      const linear = await loadLinear(model, backend, layer, name, unpack);
      own(linear.weight);
      for (const part of [linear.bias, linear.sandwich?.left, linear.sandwich?.right]) {
        if (part) own(part);
      }
      linears[name] = linear;
    }
    return {
      layer,
      inputNorm: await load("input_layernorm.weight"),
      postAttentionNorm: await load("post_attention_layernorm.weight"),
      qNorm: model.spec.qkNorm ? await load("self_attn.q_norm.weight") : undefined,
      kNorm: model.spec.qkNorm ? await load("self_attn.k_norm.weight") : undefined,
      linears: linears as Record<LinearName, LinearWeight>,
      inputRotation: await rotation(inputRotation(layer)),
      outputRotation: layer + 1 === model.spec.layers ? await rotation(OUTPUT_ROTATION) : undefined,
    };
  });
}

/**
 * Loads what stands outside the blocks.
 *
 * @param unpack make tables f32 tensors, to change them. @default false
 */
export function loadOuter(
  model: StoredModel,
  backend: Backend,
  unpack = false,
): Promise<OuterWeights> {
  const loadTable = unpack ? loadTensor : loadFewBits;
  return allOrNothing(async (own) => {
    const embedding = own(await loadTable(model, backend, embeddingName(model)));
    const finalNorm = own(await loadTensor(model, backend, FINAL_NORM));
    const tied = headName(model) === embeddingName(model);
    const head = tied ? embedding : await loadTable(model, backend, headName(model));
    return { embedding, finalNorm, head };
  });
}
