import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { PenjingError } from "../errors.js";
import { checkExtras, isRotation } from "../extras.js";
import { type Form, partsIn } from "../form.js";
import type { Layout, TensorEntry } from "../layout.js";
import { layoutOf, plainConfig } from "../layouts/index.js";
import { blockName, type DecoderSpec, decoderTensors, outerTensors } from "../model.js";
import { openRegistry, type RunRegistry } from "../registry.js";
import { pacer, type Restful, withoutRest, withRest } from "../run.js";
import type { StoredDType } from "../tensor.js";
import { readModelConfig } from "./families/index.js";
import { readSource, type TensorSource, tensorSources } from "./sources.js";
import { checkForms, readForms, type StoredForms, sharedIn } from "./stored-forms.js";
import { misplaced, withPlainNames, withStoredBase } from "./tensor-names.js";

/** Names that old checkpoints store beside their parameters and that are computed anew here. */
const IGNORED = /\.rotary_emb\.inv_freq$/;

const FLOATS: readonly string[] = ["F32", "F16", "BF16", "F64"];

/** A checkpoint that was found to hold a model that can be run, whole and nothing else. */
export interface StoredModel {
  readonly checkpoint: Checkpoint;
  readonly spec: DecoderSpec;
  /** What the call that reads it knows. */
  readonly registry: RunRegistry;
  /** How its packed weights are stored. */
  readonly layout: Layout;
  /** Every weight by its logical name, whichever layout it is stored in. */
  readonly weights: ReadonlyMap<string, TensorEntry>;
  /** Logical names of the weights that are stored packed. */
  readonly packed: ReadonlySet<string>;
  /** How weights are held that are not simply stored by the layout, by logical name. */
  readonly forms: StoredForms;
  /** Tensors beside those of the family: parts of forms, and rotations. */
  readonly extras: ReadonlySet<string>;
  /** What is a part of another tensor or transposed, by its logical name. */
  readonly sources: ReadonlyMap<string, TensorSource>;
  /** What is so in plain checkpoints of the family, whichever form it has in this one. */
  readonly places: ReadonlyMap<string, TensorSource>;
}

/**
 * Matches a checkpoint against its config.json.
 *
 * @param registry what the call knows. @default what is built in
 * @throws PenjingError when config.json is missing or not supported, and for a tensor that is
 *   missing, extra, of another shape, or not of a float dtype
 */
export function readModel(given: Checkpoint, registry: RunRegistry = openRegistry()): StoredModel {
  return withoutRest(readSteps(given, registry));
}

/**
 * The same for a model of very many tensors.
 *
 * @throws the signal's reason when it was aborted
 */
export function readLargeModel(
  given: Checkpoint,
  registry: RunRegistry,
  signal: AbortSignal | undefined,
): Promise<StoredModel> {
  return withRest(readSteps(given, registry), pacer(signal));
}

function* readSteps(given: Checkpoint, registry: RunRegistry): Restful<StoredModel> {
  const { path } = given.folder;
  if (given.config === undefined) {
    const wrong = misplaced(given.tensors.keys());
    throw new PenjingError(
      path,
      wrong ??
        "there is no config.json, which says how the model is built; copy it from the model's own folder.",
    );
  }
  checkExtras(given.metadata, path);
  const layout = layoutOf(given.metadata, path, registry.layouts);
  const isPlain = layout.name === "dense" && given.forms === undefined;
  const checkpoint = isPlain ? withPlainNames(given) : given;
  yield;
  const config = plainConfig(checkpoint.config, layout);
  const read = readModelConfig(`${path}/config.json`, config, {
    known: registry.families,
    plugins: checkpoint.plugins,
    tensors: checkpoint.tensors.size,
  });
  yield;
  const stored = [...checkpoint.tensors.values()];
  const packed = layout.name === "dense" ? [] : layout.weights(stored);
  const parts = new Set(packed.flatMap((entry) => layout.entries(entry).map(({ name }) => name)));
  const weights = new Map<string, TensorEntry>(packed.map((entry) => [entry.name, entry]));
  for (const entry of stored) if (!parts.has(entry.name)) weights.set(entry.name, entry);
  const forms = readForms(checkpoint.forms, weights, path);
  const names = new Set([...weights.keys(), ...forms.keys()]);
  const spec = withStoredBase(read, names);
  const { finalNorm, head } = outerTensors(spec);
  const wrong = weights.has(finalNorm) && weights.has(head) ? undefined : misplaced(weights.keys());
  if (wrong !== undefined) throw new PenjingError(path, wrong);
  yield;
  const places = tensorSources(spec);
  if (checkpoint.decoded && hasGridsElsewhere(places, forms, path)) {
    return yield* readSteps(decodedWhole(checkpoint), registry);
  }
  const isPacked = new Set(packed.map(({ name }) => name));
  const plain = [...places].filter(([name]) => !forms.has(name) && !isPacked.has(name));
  const sources = new Map(plain);
  yield;
  takeSources(spec, sources, weights, path);
  const expected = expectedTensors(spec, names);
  yield;
  checkForms(forms, weights, expected, path);
  const extras = new Set([...weights.keys()].filter(isRotation));
  for (const [name, form] of forms) {
    for (const part of partsIn(form)) if (!expected.has(part)) extras.add(part);
    const shape = expected.get(name)!;
    if (!weights.has(name)) weights.set(name, { name, dtype: widest(form, forms, weights), shape });
  }
  const model: StoredModel = {
    checkpoint,
    spec,
    registry,
    layout,
    weights,
    packed: isPacked,
    forms,
    extras,
    sources,
    places,
  };
  yield;
  checkTensors(model, expected);
  return model;
}

/**
 * Whether weights are quantized of which several are one tensor in the family's checkpoints.
 *
 * @throws PenjingError when the family stores them transposed, which quantizers do not
 */
function hasGridsElsewhere(
  places: ReadonlyMap<string, TensorSource>,
  forms: StoredForms,
  where: string,
): boolean {
  const place = [...places.values()].find(({ name }) => forms.has(name));
  if (!place?.transposed) return place !== undefined;
  throw new PenjingError(
    where,
    `${place.name} is quantized and of a family that stores its weights transposed, which is not read; take the original checkpoint instead.`,
  );
}

/** A quantized checkpoint as floats. */
function decodedWhole({ decoded, notes }: Checkpoint): Checkpoint {
  const note = "its family keeps several linears in one tensor, so its weights are decoded to F32";
  return { ...decoded!(), notes: [...notes, note] };
}

/** Puts in place of stored tensors the weights that are parts of them, under their logical names. */
function takeSources(
  spec: DecoderSpec,
  sources: ReadonlyMap<string, TensorSource>,
  weights: Map<string, TensorEntry>,
  where: string,
): void {
  const shapes = decoderTensors(spec);
  for (const [name, source] of sources) {
    const { dtype } = checkTensor(spec, weights.get(source.name), source, where);
    weights.set(name, { name, dtype, shape: shapes.get(name)! });
  }
  for (const { name } of sources.values()) if (!sources.has(name)) weights.delete(name);
}

/** Refuses a tensor that is missing, of another shape, or not of a float dtype. */
function checkTensor(
  spec: DecoderSpec,
  entry: TensorEntry | undefined,
  { name, shape }: Pick<TensorEntry, "name" | "shape">,
  where: string,
): TensorEntry {
  if (!entry && name === outerTensors(spec).head) {
    throw new PenjingError(
      where,
      `the tensor ${name} is missing: the checkpoint has no head that predicts tokens, and config.json does not say that the embedding serves as one; set tie_word_embeddings to true there if it does, or fetch the whole model.`,
    );
  }
  if (!entry) {
    throw new PenjingError(
      where,
      `the tensor ${name} is missing, which ${describe(spec)} needs; the checkpoint is incomplete or its config.json is of another model.`,
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
  return entry;
}

function describe({ family, blocks }: DecoderSpec): string {
  return `a ${family} model of ${blocks.length} layers`;
}

/**
 * The tensors of a model's family by name, as far as a tied pair is stored.
 *
 * @param names of all weights, however they are held
 */
function expectedTensors(
  spec: DecoderSpec,
  names: ReadonlySet<string>,
): Map<string, readonly number[]> {
  const expected = decoderTensors(spec);
  // A tied pair may be stored under either name or under both.
  const { head, embedding } = outerTensors(spec);
  if (spec.tiedHead && names.has(head)) {
    expected.set(head, expected.get(embedding)!);
    if (!names.has(embedding)) expected.delete(embedding);
  }
  return expected;
}

/** The float type that a weight has once it is decoded: the one of its parts, F32 where they differ. */
function widest(
  form: Form<string>,
  forms: StoredForms,
  weights: ReadonlyMap<string, TensorEntry>,
): StoredDType {
  const types = new Set<StoredDType>();
  const seen = new Set<string>();
  const collect = (one: Form<string>) => {
    for (const part of partsIn(one)) {
      const dtype = weights.get(part)!.dtype;
      if (FLOATS.includes(dtype)) types.add(dtype);
    }
    for (const of of sharedIn(one)) {
      if (seen.has(of)) continue;
      seen.add(of);
      const other = forms.get(of);
      if (other) collect(other);
      else types.add(weights.get(of)?.dtype ?? "F32");
    }
  };
  collect(form);
  return types.size === 1 ? [...types][0] : "F32";
}

function checkTensors(model: StoredModel, expected: ReadonlyMap<string, readonly number[]>): void {
  const { spec, weights, extras } = model;
  const where = model.checkpoint.folder.path;
  for (const [name, shape] of expected) {
    checkTensor(spec, weights.get(name), { name, shape }, where);
  }
  const { buffers = [], blocks } = spec;
  const ignored = new Set(
    blocks.flatMap((_, layer) => buffers.map((name) => `${blockName(spec, layer)}.${name}`)),
  );
  for (const name of weights.keys()) {
    if (expected.has(name) || ignored.has(name) || IGNORED.test(name)) continue;
    if (isRotation(name)) checkRotation(model, name);
    if (extras.has(name)) continue;
    throw new PenjingError(
      where,
      `the tensor ${name} is not part of ${describe(spec)}; the checkpoint holds something that would be lost, so it is refused. Check model_type and num_hidden_layers in config.json.`,
    );
  }
}

/** Refuses a rotation of another size than the residual stream's. */
function checkRotation({ weights, spec, checkpoint }: StoredModel, name: string): void {
  const { shape, dtype } = weights.get(name)!;
  const fits = String(shape) === String([spec.hiddenSize, spec.hiddenSize]);
  if (fits && FLOATS.includes(dtype)) return;
  throw new PenjingError(
    checkpoint.folder.path,
    `the extra tensor ${name} is ${dtype} [${shape}], which does not fit the model; the checkpoint is damaged, compress it again.`,
  );
}

/**
 * Refuses a model whose linears could not be written back as they were stored.
 *
 * @throws PenjingError naming the first of them
 */
export function refuseSources({ checkpoint, sources }: StoredModel): void {
  const first = [...sources].find(([name, source]) => source.name !== name);
  if (!first) return;
  const [name, { name: stored, transposed }] = first;
  throw new PenjingError(
    checkpoint.folder.path,
    `the tensor ${name} is stored ${transposed ? "transposed " : ""}in ${stored}, which can be run but not written anew; store every linear in a tensor of its own, [outFeatures, inFeatures].`,
  );
}

/** Whether a checkpoint holds rotations or forms, and so was compressed here before. */
export function hasExtras({ extras, forms }: StoredModel): boolean {
  return extras.size > 0 || forms.size > 0;
}

/** Whether a weight is stored by the layout, and not only as the parts of a form. */
export function isStored({ checkpoint, packed }: StoredModel, name: string): boolean {
  return packed.has(name) || checkpoint.tensors.has(name);
}

/** Names of the tensors that a weight is stored as. */
export function partsOf({ forms, layout, packed, weights }: StoredModel, name: string): string[] {
  const form = forms.get(name);
  if (form) return [...new Set(partsIn(form))];
  const entry = weights.get(name)!;
  return packed.has(name) ? layout.entries(entry).map((part) => part.name) : [name];
}

/** Where a tied or untied output head is stored. */
export function headName({ spec, weights }: StoredModel): string {
  const { embedding, head } = outerTensors(spec);
  return spec.tiedHead && weights.has(embedding) ? embedding : head;
}

/** Where the embedding is stored. */
export function embeddingName({ spec, weights }: StoredModel): string {
  const { embedding, head } = outerTensors(spec);
  return weights.has(embedding) ? embedding : head;
}

/** The bytes of a weight, row-major in its own dtype, unpacked when it is stored packed. */
export async function readWeight(model: StoredModel, name: string): Promise<Uint8Array> {
  const { checkpoint, layout, weights, packed, sources } = model;
  const source = sources.get(name);
  const entry = weights.get(name)!;
  if (source) return readSource(checkpoint, source, entry.shape);
  if (!packed.has(name)) return checkpoint.read(name);
  const parts = new Map<string, Uint8Array>();
  for (const part of layout.entries(entry)) parts.set(part.name, await checkpoint.read(part.name));
  return layout.unpack(entry, parts);
}

/** Bytes of a weight that are read at a time where the whole is not needed. */
export const PIECE_BYTES = 2 ** 22;

/** Some of a weight's bytes, from byte `start` on. */
export interface Piece {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** Bytes that are at hand piece by piece. */
export function* inPieces(bytes: Uint8Array, pieceBytes = PIECE_BYTES): Generator<Piece> {
  for (let start = 0; start < bytes.length; start += pieceBytes) {
    yield { start, bytes: bytes.subarray(start, start + pieceBytes) };
  }
}

/** The bytes of a weight piece by piece; one that is packed is read and unpacked as a whole. */
export async function* readPieces(
  model: StoredModel,
  name: string,
  pieceBytes = PIECE_BYTES,
): AsyncGenerator<Piece, void, void> {
  if (model.packed.has(name) || model.sources.has(name)) {
    yield* inPieces(await readWeight(model, name), pieceBytes);
    return;
  }
  const { byteLength } = model.checkpoint.tensors.get(name)!;
  for (let start = 0; start < byteLength; start += pieceBytes) {
    const length = Math.min(pieceBytes, byteLength - start);
    yield { start, bytes: await model.checkpoint.readRange(name, start, length) };
  }
}
