import type { Backend, HalfFormat } from "./backend.js";
import type { Checkpoint } from "./checkpoint/checkpoint.js";
import { toFloat32 } from "./checkpoint/dtype.js";
import type { BlockWeights, LinearWeight, OuterWeights } from "./decoder.js";
import { PenjingError } from "./errors.js";
import type { Layout, TensorEntry } from "./layout.js";
import { layoutOf } from "./layouts/index.js";
import {
  blockTensor,
  type DecoderSpec,
  decoderTensors,
  EMBEDDING,
  FINAL_NORM,
  HEAD,
  hasBias,
  LINEAR_NAMES,
  type LinearName,
} from "./model.js";
import { readModelConfig } from "./models/index.js";
import { type StoredDType, sizeOf, type Tensor } from "./tensor.js";

/** Names that old checkpoints store beside their parameters and that are computed anew here. */
const IGNORED = /\.rotary_emb\.inv_freq$/;

const FLOATS = ["F32", "F16", "BF16", "F64"];

/** A checkpoint that was found to hold a model that can be run, whole and nothing else. */
export interface StoredModel {
  readonly checkpoint: Checkpoint;
  readonly spec: DecoderSpec;
  /** How its packed weights are stored. */
  readonly layout: Layout;
  /** Every weight by its logical name, whichever layout it is stored in. */
  readonly weights: ReadonlyMap<string, TensorEntry>;
  /** Logical names of the weights that are stored packed. */
  readonly packed: ReadonlySet<string>;
}

/**
 * Matches a checkpoint against its config.json.
 *
 * @throws PenjingError when config.json is missing or not supported, and for a tensor that is
 *   missing, extra, of another shape, or not of a float dtype
 */
export function readModel(checkpoint: Checkpoint): StoredModel {
  const { path } = checkpoint.folder;
  if (checkpoint.config === undefined) {
    throw new PenjingError(
      path,
      "there is no config.json, which says how the model is built; copy it from the model's own folder.",
    );
  }
  const spec = readModelConfig(`${path}/config.json`, checkpoint.config);
  const layout = layoutOf(checkpoint.metadata, path);
  const stored = [...checkpoint.tensors.values()];
  const packed = layout.name === "dense" ? [] : layout.weights(stored);
  const parts = new Set(packed.flatMap((entry) => layout.entries(entry).map(({ name }) => name)));
  const weights = new Map<string, TensorEntry>(packed.map((entry) => [entry.name, entry]));
  for (const entry of stored) if (!parts.has(entry.name)) weights.set(entry.name, entry);
  const model: StoredModel = {
    checkpoint,
    spec,
    layout,
    weights,
    packed: new Set(packed.map(({ name }) => name)),
  };
  checkTensors(model);
  return model;
}

function checkTensors(model: StoredModel): void {
  const { spec, weights } = model;
  const where = model.checkpoint.folder.path;
  const expected = decoderTensors(spec);
  const family = `a ${spec.family} model of ${spec.layers} layers`;
  // A tied pair may be stored under either name or under both.
  if (spec.tiedHead) {
    if (weights.has(HEAD)) expected.set(HEAD, expected.get(EMBEDDING)!);
    if (weights.has(HEAD) && !weights.has(EMBEDDING)) expected.delete(EMBEDDING);
  }
  for (const [name, shape] of expected) {
    const entry = weights.get(name);
    if (!entry) {
      throw new PenjingError(
        where,
        `the tensor ${name} is missing, which ${family} needs; the checkpoint is incomplete or its config.json is of another model.`,
      );
    }
    if (String(entry.shape) !== String(shape)) {
      throw new PenjingError(
        where,
        `the tensor ${name} is [${entry.shape}], but config.json asks for [${shape}]; take both from the same model.`,
      );
    }
    if (!FLOATS.includes(entry.dtype)) {
      throw new PenjingError(
        where,
        `the tensor ${name} is ${entry.dtype}, must be one of ${FLOATS.join(", ")}; quantized checkpoints are not supported.`,
      );
    }
  }
  for (const name of weights.keys()) {
    if (expected.has(name) || IGNORED.test(name)) continue;
    throw new PenjingError(
      where,
      `the tensor ${name} is not part of ${family}; the checkpoint holds something that would be lost, so it is refused. Check model_type and num_hidden_layers in config.json.`,
    );
  }
}

/** Where a tied or untied output head is stored. */
export function headName({ spec, weights }: StoredModel): string {
  return spec.tiedHead && weights.has(EMBEDDING) ? EMBEDDING : HEAD;
}

/** Where the embedding is stored. */
export function embeddingName({ weights }: StoredModel): string {
  return weights.has(EMBEDDING) ? EMBEDDING : HEAD;
}

/** The bytes of a weight, row-major in its own dtype, unpacked when it is stored packed. */
export async function readWeight(model: StoredModel, name: string): Promise<Uint8Array> {
  const { checkpoint, layout, weights, packed } = model;
  if (!packed.has(name)) return checkpoint.read(name);
  const entry = weights.get(name)!;
  const parts = new Map<string, Uint8Array>();
  for (const part of layout.entries(entry)) parts.set(part.name, await checkpoint.read(part.name));
  return layout.unpack(entry, parts);
}

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
  throw new PenjingError(
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
    if (unpack || !model.packed.has(name)) {
      return { kind: "dense", weight: await loadTensor(model, backend, name), bias };
    }
    const entry = model.weights.get(name)!;
    const [valueEntry, indexEntry] = model.layout.entries(entry);
    const valueBytes = await model.checkpoint.read(valueEntry.name);
    const values = own(uploadFloats(backend, valueEntry, valueBytes));
    await refuseNonFinite(backend, values, model.checkpoint.folder.path, name);
    const indexBytes = await model.checkpoint.read(indexEntry.name);
    const indices = own(backend.upload(indexBytes, indexEntry.shape));
    const weight = backend.ops.prepareTwoFour(values, indices, entry.shape[1]);
    values.dispose();
    indices.dispose();
    return { kind: "two-four", weight, bias };
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
    const linears: Partial<Record<LinearName, LinearWeight>> = {};
    for (const name of LINEAR_NAMES) {
      const linear = await loadLinear(model, backend, layer, name, unpack);
      own(linear.weight);
      if (linear.bias) own(linear.bias);
      linears[name] = linear;
    }
    return {
      layer,
      inputNorm: await load("input_layernorm.weight"),
      postAttentionNorm: await load("post_attention_layernorm.weight"),
      qNorm: model.spec.qkNorm ? await load("self_attn.q_norm.weight") : undefined,
      kNorm: model.spec.qkNorm ? await load("self_attn.k_norm.weight") : undefined,
      linears: linears as Record<LinearName, LinearWeight>,
    };
  });
}

/** Loads what stands outside the blocks. */
export function loadOuter(model: StoredModel, backend: Backend): Promise<OuterWeights> {
  return allOrNothing(async (own) => {
    const embedding = own(await loadTensor(model, backend, embeddingName(model)));
    const finalNorm = own(await loadTensor(model, backend, FINAL_NORM));
    const tied = headName(model) === embeddingName(model);
    const head = tied ? embedding : await loadTensor(model, backend, headName(model));
    return { embedding, finalNorm, head };
  });
}
