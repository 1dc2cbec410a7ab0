import type { Checkpoint } from "./checkpoint/checkpoint.js";
import { PenjingError } from "./errors.js";
import { checkExtras, isExtra, sandwichNames, sandwichOwner } from "./extras.js";
import type { Layout, TensorEntry } from "./layout.js";
import { layoutOf, plainConfig } from "./layouts/index.js";
import { type DecoderSpec, decoderTensors, EMBEDDING, HEAD } from "./model.js";
import { readModelConfig } from "./models/index.js";

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
  checkExtras(checkpoint.metadata, path);
  const layout = layoutOf(checkpoint.metadata, path);
  const spec = readModelConfig(`${path}/config.json`, plainConfig(checkpoint.config, layout));
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
  const family = `a ${spec.family} model of ${spec.blocks.length} layers`;
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
    if (isExtra(name)) {
      checkExtra(model, name, expected);
      continue;
    }
    throw new PenjingError(
      where,
      `the tensor ${name} is not part of ${family}; the checkpoint holds something that would be lost, so it is refused. Check model_type and num_hidden_layers in config.json.`,
    );
  }
}

/** Refuses a sandwich factor or a rotation that does not fit what it belongs to. */
function checkExtra(
  { weights, spec, checkpoint }: StoredModel,
  name: string,
  expected: ReadonlyMap<string, readonly number[]>,
): void {
  const { shape, dtype } = weights.get(name)!;
  const owner = sandwichOwner(name);
  let fits = String(shape) === String([spec.hiddenSize, spec.hiddenSize]);
  if (owner) {
    const covered = expected.get(owner.weightName)?.[owner.side === "left" ? 0 : 1];
    const [count, rows, cols] = shape;
    const pair = Object.values(sandwichNames(owner.weightName));
    fits = shape.length === 3 && rows === cols && count * rows === covered;
    fits &&= pair.every((other) => weights.has(other));
  }
  if (fits && FLOATS.includes(dtype)) return;
  throw new PenjingError(
    checkpoint.folder.path,
    `the extra tensor ${name} is ${dtype} [${shape}], which does not fit the model; the checkpoint is damaged, compress it again.`,
  );
}

/** Whether a checkpoint holds rotations or sandwiches, and so was compressed here before. */
export function hasExtras({ weights }: StoredModel): boolean {
  return [...weights.keys()].some(isExtra);
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

/** Bytes of a weight that are read at a time where the whole is not needed. */
export const PIECE_BYTES = 2 ** 22;

/** The bytes of a weight piece by piece, unless it is packed and must be unpacked as a whole. */
export async function* readPieces(
  model: StoredModel,
  name: string,
): AsyncGenerator<{ readonly start: number; readonly bytes: Uint8Array }, void, void> {
  if (model.packed.has(name)) {
    yield { start: 0, bytes: await readWeight(model, name) };
    return;
  }
  const { byteLength } = model.checkpoint.tensors.get(name)!;
  for (let start = 0; start < byteLength; start += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, byteLength - start);
    yield { start, bytes: await model.checkpoint.readRange(name, start, length) };
  }
}
