/** A GGUF file as a checkpoint: its tensors decoded as they are read, its keys as a model's files. */
import { nearest, PenjingError } from "../../errors.js";
import { allocate, type Folder, memoryFolder } from "../../platform/files.js";
import { quote } from "../../quote.js";
import type { BesideFiles } from "../beside.js";
import { DTYPE_BYTES, toFloat32 } from "../dtype.js";
import type { Checkpoint } from "../opened.js";
import { checkTensorRange, type TensorInfo } from "../safetensors.js";
import type { Contents } from "./architectures/fields.js";
import {
  ARCHITECTURE_KEY,
  architectureOf,
  changeOf,
  configOf,
  isFactors,
  plainName,
} from "./architectures.js";
import { type Undoing, undoing } from "./change.js";
import { type CodedMatrix, codedCheckpoint, codedMatrix } from "./codes.js";
import { type GgufFiles, onlyModel, openGgufFiles, type Placed } from "./files.js";
import { type Keys, keysOfOrigin } from "./keys.js";
import { hasTokenizer, makeTokenizerTexts, specialIds } from "./tokenizer.js";

/** Bytes of the file that are decoded at a time. */
const PIECE_BYTES = 2 ** 22;

/** A tensor with what is needed to read it. */
interface GgufTensorInfo extends TensorInfo {
  readonly file: string;
  /** As the file has it. */
  readonly stored: { readonly type: string; readonly byteLength: number };
}

interface Readable {
  readonly info: GgufTensorInfo;
  readonly placed: Placed;
  /** Elements that are read together: a block, or what is put in order. */
  readonly unit: number;
  /** Gives decoded units as they are wanted. @default as they are */
  readonly undo?: Undoing["undo"] | undefined;
}

/** Where a model is. */
export interface Found {
  readonly folder: Folder;
  /** Of the files of the folder. */
  readonly names: readonly string[];
  /** The file that was given; undefined for a folder. */
  readonly single: string | undefined;
  /** What is said of how it was found. */
  readonly notes: readonly string[];
}

/**
 * Opens a GGUF file, or the only one of a folder, or one in several parts, as a checkpoint in Hugging
 * Face form. Quantized tensors are given as F32, others as they are stored; what llama.cpp's converter
 * changed in them is undone. `config` throws for a family that is not known.
 *
 * @throws PenjingError for what is damaged, of another version, or of a type that is not read
 */
export async function openGguf(found: Found, signal: AbortSignal | undefined) {
  const { folder, names, single } = found;
  const files = await openGgufFiles(folder, single ?? onlyModel(folder, names), signal);
  const close = async () => {
    for (const source of files.sources) await source.close();
  };
  try {
    return await makeCheckpoint(found, files, close, signal);
  } catch (error) {
    await close();
    throw error;
  }
}

async function makeCheckpoint(
  { folder: given, notes }: Found,
  files: GgufFiles,
  close: () => Promise<void>,
  signal: AbortSignal | undefined,
) {
  const { keys } = files;
  refuseOthers(keys);
  const { tensors, factors, coded } = readables(files, signal);
  const values = new Map<string, Float32Array>();
  for (const factor of factors) {
    const bytes = await readPieces(factor, signal);
    values.set(factor.placed.name, toFloat32(factor.info, bytes));
  }
  let config: unknown;
  const readConfig = () => {
    config ??= makeConfig(files, values);
    return config;
  };
  const path = files.names.length > 1 ? `${given.path}/${files.names[0]}` : files.sources[0].name;
  const find = (name: string): Readable => {
    const found = tensors.get(name);
    if (found) return found;
    const near = nearest(name, [...tensors.keys()]);
    throw new PenjingError(
      path,
      `the model has no tensor ${quote(name)}${near ? `; did you mean ${quote(near)}?` : "."}`,
    );
  };
  const folder = virtualFolder(path, keys, readConfig);
  const beside: BesideFiles = { copied: await folder.list(), left: [], links: new Map() };
  const read = (name: string) => readPieces(find(name), signal);
  const origin = {
    ...{ format: "gguf" as const, files: files.names.map((name) => name.replace(/^.*\//, "")) },
    types: countTypes(files.tensors),
  };
  keysOfOrigin.set(origin, keys);
  const checkpoint: Checkpoint = {
    folder,
    get config() {
      return readConfig();
    },
    ...{ forms: undefined, plugins: undefined, metadata: Object.create(null), beside },
    tensors: new Map([...tensors].map(([name, { info }]) => [name, info])),
    read,
    async readRange(name: string, byteStart: number, byteLength: number) {
      const readable = find(name);
      checkTensorRange(readable.info, byteStart, byteLength);
      return readBytes(readable, byteStart, byteLength);
    },
    async readRun(names: readonly string[]) {
      const run = names.map(find);
      const bytes = allocate(
        path,
        run.reduce((sum, { info }) => sum + info.byteLength, 0),
      );
      let at = 0;
      for (const one of run) {
        bytes.set(await readPieces(one, signal), at);
        at += one.info.byteLength;
      }
      return bytes;
    },
    readFloat32: async (name: string) => toFloat32(find(name).info, await read(name)),
    notes,
    origin,
    ...(coded.length > 0 && { coded: () => codedCheckpoint(checkpoint, coded) }),
    async checkUnchanged() {
      for (const source of files.sources) await source.checkUnchanged?.();
    },
    close,
  };
  return checkpoint;
}

/** Refuses what is no model, as adapters and vocabularies. */
function refuseOthers(keys: Keys): void {
  const kind = keys.text("general.type") ?? "model";
  if (kind !== "model") {
    throw new PenjingError(
      keys.name,
      `it is of the kind ${quote(kind)} and no model; give the model's own file.`,
    );
  }
}

/** How many tensors are of each type, by the names of types. */
function countTypes(tensors: readonly Placed[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { type } of tensors) counts[type.name] = (counts[type.name] ?? 0) + 1;
  return counts;
}

/** What can be read, under the names of transformers. */
function readables({ keys, tensors }: GgufFiles, signal: AbortSignal | undefined) {
  const architecture = architectureOf(keys);
  const found = new Map<string, Readable>();
  const factors: Readable[] = [];
  const coded: CodedMatrix[] = [];
  let end = 0;
  for (const placed of tensors) {
    const { type, count, file } = placed;
    const name = plainName(architecture, placed.name);
    if (found.has(name)) {
      throw new PenjingError(
        keys.name,
        `two of its tensors stand for ${quote(name)}; the file is damaged.`,
      );
    }
    const change = changeOf(architecture, keys, placed.name);
    const {
      unit = type.weights,
      shape = placed.shape,
      dtype = type.dtype,
      undo,
    } = (change && undoing(placed, change, keys.name)) ?? {};
    const byteLength = count * DTYPE_BYTES[dtype];
    const stored = { type: type.name, byteLength: placed.byteLength };
    // As if the decoded tensors lay one after another.
    const info = {
      ...{ name, dtype, shape, byteOffset: end, byteLength },
      file,
      stored,
    };
    const readable: Readable = { info, placed, unit, undo };
    if (isFactors(architecture, placed.name)) {
      factors.push(readable);
      continue;
    }
    found.set(name, readable);
    const matrix = codedMatrix(info, placed, change, () => readStored(placed, signal));
    if (matrix) coded.push(matrix);
    end += byteLength;
  }
  return { tensors: found, factors, coded };
}

/** All bytes of a tensor, as the file has them. */
async function readStored(
  { name, source, offset, byteLength }: Placed,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const bytes = allocate(name, byteLength);
  for (let start = 0; start < byteLength; start += PIECE_BYTES) {
    signal?.throwIfAborted();
    const length = Math.min(PIECE_BYTES, byteLength - start);
    bytes.set(await source.read(offset + start, length), start);
  }
  return bytes;
}

/** All bytes of a tensor, as given. */
async function readPieces(
  readable: Readable,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const { info, placed, unit } = readable;
  const { byteLength } = info;
  const unitBytes = unit * DTYPE_BYTES[info.dtype];
  const perUnit = (unit / placed.type.weights) * placed.type.bytes;
  const step = Math.max(1, Math.floor(PIECE_BYTES / perUnit)) * unitBytes;
  if (byteLength <= step) return readBytes(readable, 0, byteLength);
  const bytes = allocate(info.name, byteLength);
  for (let start = 0; start < byteLength; start += step) {
    signal?.throwIfAborted();
    const piece = await readBytes(readable, start, Math.min(step, byteLength - start));
    bytes.set(piece, start);
  }
  return bytes;
}

/** Some bytes of a tensor, as given, in a buffer of their own. */
async function readBytes(
  { info, placed, unit, undo }: Readable,
  byteStart: number,
  byteLength: number,
): Promise<Uint8Array> {
  const { type, source, offset } = placed;
  if (byteLength === 0) return new Uint8Array(0);
  const unitBytes = unit * DTYPE_BYTES[info.dtype];
  const storedBytes = (unit / type.weights) * type.bytes;
  const first = Math.floor(byteStart / unitBytes);
  const last = Math.ceil((byteStart + byteLength) / unitBytes);
  const stored = await source.read(offset + first * storedBytes, (last - first) * storedBytes);
  let bytes = stored;
  if (type.decode) {
    const values = new Float32Array((last - first) * unit);
    type.decode(stored, values);
    bytes = new Uint8Array(values.buffer);
  }
  if (undo) bytes = undo(bytes);
  const start = byteStart - first * unitBytes;
  return start === 0 && byteLength === bytes.length
    ? bytes
    : bytes.slice(start, start + byteLength);
}

/** What config.json would say. */
function makeConfig(
  { keys, tensors }: GgufFiles,
  factors: ReadonlyMap<string, Float32Array>,
): object {
  const names = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const contents: Contents = {
    has: (name) => names.has(name),
    vocabSize: names.get("token_embd.weight")?.shape[0],
    factors: (name) => factors.get(name),
  };
  const { bos, eos, pad } = specialIds(keys);
  return {
    ...configOf(keys, contents),
    ...(bos !== undefined && { bos_token_id: bos }),
    ...(eos.length > 0 && { eos_token_id: eos.length === 1 ? eos[0] : eos }),
    ...(pad !== undefined && { pad_token_id: pad }),
    torch_dtype: "float32",
  };
}

/** The files that the keys stand for; each is made when it is first asked for. */
function virtualFolder(path: string, keys: Keys, readConfig: () => unknown): Folder {
  let texts: Readonly<Record<string, string>> | undefined;
  const makers: Record<string, () => string> = {
    "config.json": () => `${JSON.stringify(readConfig(), null, 2)}\n`,
  };
  const makeTexts = () => {
    const arch = keys.text(ARCHITECTURE_KEY) ?? "";
    texts ??= { ...makeTokenizerTexts(keys, keys.whole(`${arch}.context_length`)) };
    return texts;
  };
  if (hasTokenizer(keys)) {
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      makers[name] = () => makeTexts()[name];
    }
  }
  const names = Object.keys(makers).sort();
  const holding = (name: string): Folder => {
    const make = Object.hasOwn(makers, name) ? makers[name] : undefined;
    return memoryFolder(make ? { [name]: make() } : {}, path);
  };
  return {
    path,
    list: async () => [...names],
    open: async (name) => holding(name).open(name),
    readText: async (name, maxBytes) => holding(name).readText(name, maxBytes),
    has: async (name) => names.includes(name),
  };
}
