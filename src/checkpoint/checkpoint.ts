import { checkArguments, FOLDER, required } from "../arguments.js";
import { nearest, PenjingError } from "../errors.js";
import { type ByteSource, type Folder, openFolder } from "../platform/files.js";
import { loadFiles, loadPaths } from "../platform/node-modules.js";
import { toFloat32 } from "./dtype.js";
import { isJsonObject, MAX_CONFIG_DEPTH, own, parseJson, quote } from "./json.js";
import { openSafetensors, type SafetensorsFile, type TensorInfo } from "./safetensors.js";
import { listNames } from "./safetensors-writer.js";

/** The weights of a model in one file, and the list of shards of one in several. */
export const WEIGHTS_NAME = "model.safetensors";
export const INDEX_NAME = "model.safetensors.index.json";
/** Longest config.json accepted, in bytes; published ones stay below 100 kB. */
export const MAX_CONFIG_BYTES = 10_000_000;
/** Longest index accepted, in bytes: the same as a safetensors header. */
export const MAX_INDEX_BYTES = 100_000_000;
/** Says how this program made a folder, the same for the same input, recipe and backend. */
export const SIDE_FILE = "penjing.json";
/** Most shards accepted; published models have fewer than 1,000. */
export const MAX_SHARDS = 10_000;
/** An index is an object that holds objects. */
const MAX_INDEX_DEPTH = 8;

/** Files that hold a model's weights, in this format or in others. */
const WEIGHT_FILES =
  /(^|\/)(model|pytorch_model|consolidated|adapter_model|tf_model|flax_model|rust_model)[^/]*\.(safetensors|bin|pth|pt|h5|msgpack|ot)(\.index\.json)?$|\.gguf$/;
/** What goes with a checkpoint that was opened as a single file in a folder of anything. */
const COMPANION_FILES =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json$|^tokenizer\.model$|^merges\.txt$|^chat_template\.jinja$/;

/** A tensor and the file that holds it. */
export interface CheckpointTensor extends TensorInfo {
  readonly file: string;
}

/** An open model: its tensors wherever they are stored, and the files beside them. */
export interface Checkpoint {
  readonly folder: Folder;
  /** The parsed config.json, not checked further; undefined when there is none. */
  readonly config: unknown;
  /** What stands under `forms` in penjing.json, not checked further; undefined when nothing does. */
  readonly forms: unknown;
  /** The same of `plugins`. */
  readonly plugins: unknown;
  /** `__metadata__` of the weight files; of two values for a key, the first file's. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** All bytes of a tensor in a buffer of its own. */
  read(name: string): Promise<Uint8Array>;
  /** `byteLength` bytes of a tensor from its byte `byteStart` on. */
  readRange(name: string, byteStart: number, byteLength: number): Promise<Uint8Array>;
  /** A float tensor as f32, see `toFloat32`. */
  readFloat32(name: string): Promise<Float32Array>;
  /**
   * Files that belong to the model but hold no weights (config, tokenizer, ...), in order of name.
   * Weights in other formats, such as pytorch_model.bin, are left out: they would be stale copies.
   */
  otherFiles(): string[];
  close(): Promise<void>;
}

/**
 * Opens a model folder in Hugging Face form: model.safetensors, or the shards that
 * model.safetensors.index.json lists (the single file wins where both exist, as in transformers).
 * The path of one .safetensors file opens that file alone, with its folder's config and tokenizer.
 *
 * Every header is read and checked, and the index must agree with the shards tensor by tensor.
 */
export async function openCheckpoint(path: string | Folder): Promise<Checkpoint> {
  checkArguments("openCheckpoint", { path }, { path: required(FOLDER) });
  const { folder, single } = await locate(path);
  const names = await folder.list();
  let files: Map<string, SafetensorsFile>;
  if (single !== undefined) files = await openShards(folder, [single]);
  else if (names.includes(WEIGHTS_NAME)) files = await openShards(folder, [WEIGHTS_NAME]);
  else if (names.includes(INDEX_NAME)) files = await openIndex(folder, names);
  else throw noWeights(folder, names);
  try {
    const config = names.includes("config.json") ? await readConfig(folder) : undefined;
    const side = names.includes(SIDE_FILE) ? await readSide(folder) : NO_SIDE;
    return makeCheckpoint(folder, names, files, { config, ...side }, single !== undefined);
  } catch (error) {
    await closeAll(files.values());
    throw error;
  }
}

async function locate(path: string | Folder): Promise<{ folder: Folder; single?: string }> {
  if (typeof path !== "string") return { folder: path };
  const { stat } = await loadFiles();
  const { basename, dirname, resolve } = await loadPaths();
  const isFile = (await stat(path).catch(() => undefined))?.isFile() ?? false;
  if (!isFile) return { folder: await openFolder(path) };
  if (!path.endsWith(".safetensors")) {
    throw new PenjingError(
      path,
      "a checkpoint is a folder or a .safetensors file, and this is neither; give the model's folder.",
    );
  }
  const full = resolve(path);
  return { folder: await openFolder(dirname(full)), single: basename(full) };
}

function noWeights(folder: Folder, names: readonly string[]): PenjingError {
  const foreign = names.filter((name) => WEIGHT_FILES.test(name) && !name.endsWith(".safetensors"));
  const found = names.length > 0 ? `it holds ${listNames(names)}` : "it is empty";
  const cure =
    foreign.length > 0
      ? `convert ${listNames(foreign)} to safetensors first`
      : "give the folder that a model was downloaded or saved to";
  return new PenjingError(
    folder.path,
    `the folder has neither ${WEIGHTS_NAME} nor ${INDEX_NAME} (${found}); ${cure}.`,
  );
}

async function readConfig(folder: Folder): Promise<unknown> {
  const text = await folder.readText("config.json", MAX_CONFIG_BYTES);
  return parseJson(text, `${folder.path}/config.json`, MAX_CONFIG_DEPTH);
}

type Side = Pick<Checkpoint, "forms" | "plugins">;
const NO_SIDE: Side = { forms: undefined, plugins: undefined };

async function readSide(folder: Folder): Promise<Side> {
  const text = await folder.readText(SIDE_FILE, MAX_INDEX_BYTES);
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
): Promise<Map<string, SafetensorsFile>> {
  const files = new Map<string, SafetensorsFile>();
  try {
    for (const shard of shards) {
      const source: ByteSource = await folder.open(shard);
      files.set(shard, await openSafetensors(source));
    }
    return files;
  } catch (error) {
    await closeAll(files.values());
    throw error;
  }
}

/** The shard of every tensor, as the index claims. */
async function readIndex(folder: Folder): Promise<Map<string, string>> {
  const where = `${folder.path}/${INDEX_NAME}`;
  const text = await folder.readText(INDEX_NAME, MAX_INDEX_BYTES);
  const index = parseJson(text, where, MAX_INDEX_DEPTH);
  const map = isJsonObject(index) ? own(index, "weight_map") : undefined;
  if (!isJsonObject(map)) {
    throw new PenjingError(where, "it has no weight_map object; fetch the index again.");
  }
  const shardOf = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(map)) {
    if (typeof shard !== "string") {
      throw new PenjingError(
        where,
        `the shard of ${quote(tensor)} must be a file name, found ${quote(shard)}.`,
      );
    }
    if (!/^[^/\\:\0]+\.safetensors$/.test(shard)) {
      throw new PenjingError(
        where,
        `the shard of ${quote(tensor)} is ${quote(shard)}; a shard is a .safetensors file in the same folder, without path separators.`,
      );
    }
    shardOf.set(tensor, shard);
  }
  if (shardOf.size === 0) throw new PenjingError(where, "its weight_map lists no tensor.");
  return shardOf;
}

async function openIndex(
  folder: Folder,
  names: readonly string[],
): Promise<Map<string, SafetensorsFile>> {
  const where = `${folder.path}/${INDEX_NAME}`;
  const shardOf = await readIndex(folder);
  const shards = [...new Set(shardOf.values())].sort();
  if (shards.length > MAX_SHARDS) {
    throw new PenjingError(
      where,
      `it lists ${shards.length} shards; at most ${MAX_SHARDS} are read.`,
    );
  }
  const missing = shards.filter((shard) => !names.includes(shard));
  if (missing.length > 0) {
    throw new PenjingError(
      folder.path,
      `${missing.length} of ${shards.length} shards that ${INDEX_NAME} lists are missing: ${listNames(missing)}; download them.`,
    );
  }
  const files = await openShards(folder, shards);
  try {
    checkIndex(where, shardOf, files);
    return files;
  } catch (error) {
    await closeAll(files.values());
    throw error;
  }
}

/** Holds the index against the headers of its shards, both ways. */
function checkIndex(
  where: string,
  shardOf: ReadonlyMap<string, string>,
  files: ReadonlyMap<string, SafetensorsFile>,
): void {
  for (const [tensor, shard] of shardOf) {
    if (!files.get(shard)?.tensors.has(tensor)) {
      throw new PenjingError(
        where,
        `it says that ${quote(tensor)} is in ${shard}, but it is not; download index and shards of the same version.`,
      );
    }
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
}

function makeCheckpoint(
  folder: Folder,
  names: readonly string[],
  files: ReadonlyMap<string, SafetensorsFile>,
  beside: Side & Pick<Checkpoint, "config">,
  single: boolean,
): Checkpoint {
  const tensors = new Map<string, CheckpointTensor>();
  const metadata: Record<string, string> = Object.create(null);
  for (const [file, opened] of files) {
    for (const info of opened.tensors.values()) tensors.set(info.name, { ...info, file });
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
    ...beside,
    metadata,
    tensors,
    read,
    async readRange(name, byteStart, byteLength) {
      return find(name).file.readRange(name, byteStart, byteLength);
    },
    async readFloat32(name) {
      return toFloat32(find(name).info, await read(name));
    },
    otherFiles: () =>
      names.filter(
        (name) =>
          !files.has(name) &&
          name !== INDEX_NAME &&
          !WEIGHT_FILES.test(name) &&
          (!single || COMPANION_FILES.test(name)),
      ),
    close: () => closeAll(files.values()),
  };
}
