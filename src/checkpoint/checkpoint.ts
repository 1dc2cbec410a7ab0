import { checkArguments, FOLDER, MAPPING, required, SIGNAL } from "../arguments.js";
import { nearest, PenjingError } from "../errors.js";
import type { HubAccess } from "../hub/hub.js";
import type { ByteSource, Folder } from "../platform/files.js";
import { quote } from "../quote.js";
import { pause } from "../run.js";
import { sortBeside } from "./beside.js";
import { toFloat32 } from "./dtype.js";
import { isGguf } from "./foreign.js";
import { isJsonObject, MAX_CONFIG_DEPTH, own, parseJson } from "./json.js";
import type { Located } from "./locate.js";
import { type Checkpoint, type CheckpointTensor, MAX_CONFIG_BYTES } from "./opened.js";
import { isQuantized } from "./quantized/recognise.js";
import { openSafetensors, type SafetensorsFile } from "./safetensors.js";
import { listNames } from "./safetensors-writer.js";
import { completeSet, INDEX_NAME, readIndex, WEIGHTS_NAME } from "./weight-files.js";

export type { Checkpoint, CheckpointOrigin, CheckpointTensor } from "./opened.js";
export { MAX_CONFIG_BYTES } from "./opened.js";

/** Says how this program made a folder, the same for the same input, recipe and backend. */
export const SIDE_FILE = "penjing.json";
/** Longest one accepted, in bytes: it describes every layer. */
export const MAX_SIDE_BYTES = 100_000_000;

/** Bytes that tensors take where they are stored. */
export function storedBytes(tensors: Iterable<CheckpointTensor>): number {
  let bytes = 0;
  for (const { stored, byteLength } of tensors) bytes += stored?.byteLength ?? byteLength;
  return bytes;
}

export interface OpenCheckpointOptions {
  /** Stops the opening, and the reading of large tensors later on. */
  readonly signal?: AbortSignal | undefined;
  /** How a model on the Hugging Face hub is reached, for a name in the place of a path. */
  readonly hub?: HubAccess | undefined;
}

/**
 * Opens a model folder in Hugging Face form: model.safetensors, or the shards that
 * model.safetensors.index.json lists (the single file wins where both exist, as in transformers), or,
 * with a note, a complete set of shards or the only .safetensors file. A folder of the Hugging Face
 * cache opens as the model's snapshot. The path of one .safetensors file opens that file alone, with
 * its folder's config and tokenizer. A name on the Hugging Face hub, `hf://org/name@revision` or
 * `org/name` where no such path exists, is downloaded into the cache that Python shares, and in browsers
 * read by range.
 *
 * Weights that GPTQ, AWQ or compressed-tensors stored as integers are given as grids (Form), and their
 * config.json without its quantization_config.
 *
 * A .gguf file, or a folder with one and no safetensors, opens as the same model in that form: quantized
 * tensors are decoded to F32 as they are read, and config and tokenizer are made from its keys. What its
 * `coded` gives has those of Q8_0, Q5_0 and Q4_0 as grids.
 *
 * Every header is read and checked, and the index must agree with the shards tensor by tensor; where it
 * does not but the shards are complete by their names, they are read without it, with a note.
 */
export async function openCheckpoint(
  path: string | Folder,
  options: OpenCheckpointOptions = {},
): Promise<Checkpoint> {
  checkArguments("openCheckpoint", { path }, { path: required(FOLDER) });
  checkArguments("openCheckpoint", options, { signal: SIGNAL, hub: MAPPING });
  const { signal, hub } = options;
  signal?.throwIfAborted();
  const { folder, single, notes }: Located =
    typeof path === "string"
      ? await (await import("./locate.js")).locate(path, { signal, ...hub })
      : { folder: path, notes: [] };
  const names = await folder.list();
  if (isGgufModel(names, single)) {
    const { openGguf } = await import("./gguf/gguf.js");
    return openGguf({ folder, names, single, notes }, signal);
  }
  const opened = await openWeights(folder, names, single, signal);
  const { files } = opened;
  try {
    const config = names.includes("config.json") ? await readConfig(folder) : undefined;
    const side = names.includes(SIDE_FILE) ? await readSide(folder) : NO_SIDE;
    const others = names.filter((name) => !files.has(name) && name !== INDEX_NAME);
    const beside = await sortBeside(folder, others, single !== undefined);
    const checkpoint = makeCheckpoint(folder, files, {
      ...{ config, ...side, beside },
      notes: [...notes, ...opened.notes],
    });
    if (!isQuantized(config, names)) return checkpoint;
    const { openQuantized } = await import("./quantized/quantized.js");
    return await openQuantized(checkpoint);
  } catch (error) {
    await closeAll(files.values());
    throw error;
  }
}

/** Whether the weights are those of a GGUF file: the one that was given, or for want of others. */
function isGgufModel(names: readonly string[], single: string | undefined): boolean {
  if (single !== undefined) return isGguf(single);
  return (
    names.some(isGguf) && !names.some((name) => /^[^/]+\.safetensors(\.index\.json)?$/.test(name))
  );
}

/** The weight files, open. */
interface OpenedWeights {
  readonly files: Map<string, SafetensorsFile>;
  readonly notes: readonly string[];
}

async function openWeights(
  folder: Folder,
  names: readonly string[],
  single: string | undefined,
  signal: AbortSignal | undefined,
): Promise<OpenedWeights> {
  const named = single ?? (names.includes(WEIGHTS_NAME) ? WEIGHTS_NAME : undefined);
  if (named !== undefined) return { files: await openShards(folder, [named], signal), notes: [] };
  if (names.includes(INDEX_NAME)) return openIndex(folder, names, signal);
  const { findWeightFiles } = await import("./unusual-files.js");
  const { shards, notes } = await findWeightFiles(folder, names);
  return { files: await openShards(folder, shards, signal), notes };
}

async function readConfig(folder: Folder): Promise<unknown> {
  const text = await folder.readText("config.json", MAX_CONFIG_BYTES);
  return parseJson(text, `${folder.path}/config.json`, MAX_CONFIG_DEPTH);
}

type Side = Pick<Checkpoint, "forms" | "plugins">;
const NO_SIDE: Side = { forms: undefined, plugins: undefined };

async function readSide(folder: Folder): Promise<Side> {
  const text = await folder.readText(SIDE_FILE, MAX_SIDE_BYTES);
  const side = parseJson(text, `${folder.path}/${SIDE_FILE}`, MAX_CONFIG_DEPTH);
  if (!isJsonObject(side)) return NO_SIDE;
  return { forms: own(side, "forms"), plugins: own(side, "plugins") };
}

async function closeAll(files: Iterable<SafetensorsFile>): Promise<void> {
  for (const file of files) await file.close();
}

async function openShards(
  folder: Folder,
  shards: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Map<string, SafetensorsFile>> {
  const files = new Map<string, SafetensorsFile>();
  folder.prepare?.(shards);
  try {
    for (const shard of shards) {
      const source: ByteSource = await folder.open(shard);
      files.set(shard, await openSafetensors(source, signal));
      await pause(signal);
    }
    return files;
  } catch (error) {
    await closeAll(files.values());
    throw error;
  }
}

async function openIndex(
  folder: Folder,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<OpenedWeights> {
  const where = `${folder.path}/${INDEX_NAME}`;
  const shardOf = await readIndex(folder);
  await pause(signal);
  const shards = [...new Set(shardOf.values())].sort();
  const complete = completeSet(names);
  const stale = (shards: readonly string[]) =>
    `${INDEX_NAME} does not fit the files; the ${shards.length} shards that are there are read without it`;
  const missing = shards.filter((shard) => !names.includes(shard));
  if (missing.length > 0) {
    if (complete)
      return { files: await openShards(folder, complete, signal), notes: [stale(complete)] };
    throw new PenjingError(
      folder.path,
      `${missing.length} of ${shards.length} shards that ${INDEX_NAME} lists are missing: ${listNames(missing)}; download them.`,
    );
  }
  const files = await openShards(folder, shards, signal);
  try {
    return { files, notes: checkIndex(where, shardOf, files) };
  } catch (error) {
    await closeAll(files.values());
    if (!complete) throw error;
    return { files: await openShards(folder, complete, signal), notes: [stale(complete)] };
  }
}

/** A tied pair: an index may list both though the shards hold one. */
const TIED_PAIR = /(^|\.)(lm_head|embed_tokens)\.weight$/;

/**
 * Holds the index against the headers of its shards, both ways.
 *
 * @returns sentences on what was passed over
 */
function checkIndex(
  where: string,
  shardOf: ReadonlyMap<string, string>,
  files: ReadonlyMap<string, SafetensorsFile>,
): string[] {
  const notes: string[] = [];
  for (const [tensor, shard] of shardOf) {
    if (files.get(shard)?.tensors.has(tensor)) continue;
    if (TIED_PAIR.test(tensor)) {
      notes.push(`${INDEX_NAME} lists ${tensor}, which is not stored; it is passed over`);
      continue;
    }
    throw new PenjingError(
      where,
      `it says that ${quote(tensor)} is in ${shard}, but it is not; download index and shards of the same version.`,
    );
  }
  for (const [shard, file] of files) {
    for (const tensor of file.tensors.keys()) {
      const claimed = shardOf.get(tensor);
      if (claimed === shard) continue;
      throw new PenjingError(
        where,
        claimed === undefined
          ? `it does not list ${quote(tensor)}, which is in ${shard}; download index and shards of the same version.`
          : `${quote(tensor)} is in two shards, ${claimed} and ${shard}; a tensor is stored once.`,
      );
    }
  }
  return notes;
}

function makeCheckpoint(
  folder: Folder,
  files: ReadonlyMap<string, SafetensorsFile>,
  facts: Side & Pick<Checkpoint, "config" | "beside" | "notes">,
): Checkpoint {
  const tensors = new Map<string, CheckpointTensor>();
  const metadata: Record<string, string> = Object.create(null);
  for (const [file, opened] of files) {
    for (const info of opened.tensors.values()) {
      const before = tensors.get(info.name);
      if (before) {
        throw new PenjingError(
          folder.path,
          `${quote(info.name)} is in two shards, ${before.file} and ${file}; a tensor is stored once.`,
        );
      }
      const { name, dtype, shape, byteOffset, byteLength } = info;
      tensors.set(name, { name, dtype, shape, byteOffset, byteLength, file });
    }
    for (const [key, text] of Object.entries(opened.metadata)) metadata[key] ??= text;
  }
  const find = (name: string): { file: SafetensorsFile; info: CheckpointTensor } => {
    const info = tensors.get(name);
    const file = info && files.get(info.file);
    if (info && file) return { file, info };
    const near = nearest(name, [...tensors.keys()]);
    throw new PenjingError(
      folder.path,
      `the model has no tensor ${quote(name)}${near ? `; did you mean ${quote(near)}?` : "."}`,
    );
  };
  const read = async (name: string): Promise<Uint8Array> => find(name).file.read(name);
  return {
    folder,
    ...facts,
    metadata,
    tensors,
    read,
    async readRange(name, byteStart, byteLength) {
      return find(name).file.readRange(name, byteStart, byteLength);
    },
    async readRun(names) {
      const run = names.map(find);
      const { file } = run[0];
      if (run.some((one) => one.file !== file)) {
        throw new PenjingError(folder.path, "the tensors of a run must lie in one file.");
      }
      return file.readRun(run.map(({ info }) => info));
    },
    async readFloat32(name) {
      return toFloat32(find(name).info, await read(name));
    },
    async checkUnchanged() {
      for (const file of files.values()) await file.checkUnchanged();
    },
    close: () => closeAll(files.values()),
  };
}
