import { ANY, CHECKPOINT, checkArguments, FLAG, MAPPING, required, SIGNAL } from "./arguments.js";
import {
  type Checkpoint,
  type CheckpointTensor,
  openCheckpoint,
  storedBytes,
} from "./checkpoint/checkpoint.js";
import { DTYPE_BYTES } from "./checkpoint/dtype.js";
import { describe } from "./forms/leaf.js";
import type { HubAccess } from "./hub/hub.js";
import type { Layout, TensorEntry } from "./layout.js";
import { layoutOf } from "./layouts/index.js";
import { type DensePeer, densePeer } from "./layouts/two-four-int.js";
import { readForms } from "./models/stored-forms.js";
import type { PluginOptions } from "./plugin.js";
import { openRegistry } from "./registry.js";
import { pacer, Run } from "./run.js";
import { type StoredDType, sizeOf } from "./tensor.js";

/** Bytes that are looked at at a time. */
const CHUNK_BYTES = 4 * 2 ** 20;

/** Tensors up to this size are read several at a time. */
const SMALL_BYTES = 2 ** 16;

/** Patterns that a matrix is checked against, the strictest first. */
const PATTERNS = [
  { name: "1:4", n: 1, m: 4 },
  { name: "2:4", n: 2, m: 4 },
  { name: "4:8", n: 4, m: 8 },
] as const;

export interface TensorReport {
  readonly name: string;
  readonly dtype: StoredDType;
  /** Logical shape; that of the unpacked weight for packed ones. */
  readonly shape: readonly number[];
  /** The type that it has in its file where it is decoded from another, as in "Q4_K". */
  readonly storedAs?: string | undefined;
  /** Bytes stored. */
  readonly bytes: number;
  /** File that holds it. */
  readonly file: string;
  /** How it is stored: "dense" or the name of a packed layout. */
  readonly layout: string;
  /** Share of zeros among the logical elements; undefined for integers, and where none are counted. */
  readonly sparsity: number | undefined;
  /** The strictest N:M that every group of every row keeps to; undefined for none or no matrix. */
  readonly pattern: string | undefined;
}

export interface InspectOptions extends PluginOptions {
  /** Stops the work. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Count zeros, for which every weight is read.
   *
   * @default true, and false for a model that is read from the hub: then its headers alone are fetched
   */
  readonly zeros?: boolean | undefined;
  /** How a model on the Hugging Face hub is reached, for a name in the place of a path. */
  readonly hub?: HubAccess | undefined;
}

export interface InspectEvent {
  /** The tensor that was looked at. */
  readonly name: string;
  /** Share of all bytes that is done, in [0, 1]. */
  readonly fraction: number;
}

export interface InspectResult {
  readonly path: string;
  readonly layout: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: readonly TensorReport[];
  /** Weights that are not simply stored by the layout: how each is held, as in "4:8 x int8". */
  readonly forms: Readonly<Record<string, string>>;
  /** Of 2:4 weights on a grid: the dense one that takes as many bits, or next fewer. */
  readonly peers: Readonly<Record<string, DensePeer>>;
  readonly bytes: number;
  /** Logical elements of all tensors. */
  readonly parameters: number;
}

/**
 * Looks at every tensor of a model folder, a .safetensors file or a .gguf file, in pieces of a few MiB. A
 * model that is named as the hub names it is not downloaded but read there.
 *
 * @param source a path or an open checkpoint
 */
export function inspect(
  source: string | Checkpoint,
  options: InspectOptions = {},
): Run<InspectEvent, InspectResult> {
  return new Run(steps(source, options));
}

async function* steps(
  source: string | Checkpoint,
  options: InspectOptions,
): AsyncGenerator<InspectEvent, InspectResult, void> {
  checkArguments("inspect", { source }, { source: required(CHECKPOINT) });
  checkArguments("inspect", options, {
    ...{ signal: SIGNAL, plugins: ANY, zeros: FLAG, hub: MAPPING },
  });
  const { signal, plugins } = options;
  signal?.throwIfAborted();
  const { layouts } = openRegistry(plugins);
  const hub = { stream: true, ...options.hub };
  const checkpoint =
    typeof source === "string" ? await openCheckpoint(source, { signal, hub }) : source;
  const { zeros = !checkpoint.folder.isRemote } = options;
  try {
    const layout = layoutOf(checkpoint.metadata, checkpoint.folder.path, layouts);
    const stored = [...checkpoint.tensors.values()];
    const packed = layout.name === "dense" ? [] : layout.weights(stored);
    const owner = new Map(
      packed.flatMap((weight) =>
        layout.entries(weight).map((part) => [part.name, weight] as const),
      ),
    );
    const logical = [...stored, ...packed].map((entry) => [entry.name, entry] as const);
    const forms = readForms(checkpoint.forms, new Map(logical), checkpoint.folder.path);
    const tensors: TensorReport[] = [];
    const total = storedBytes(stored);
    let seen = 0;
    const rest = pacer(signal);
    const readSmall = smallReader(checkpoint, stored);
    for (const [place, entry] of stored.entries()) {
      await rest();
      const weight = owner.get(entry.name);
      // A packed weight is reported once, at its first part.
      if (weight && layout.entries(weight)[0].name !== entry.name) continue;
      const parts = weight
        ? layout.entries(weight).map(({ name }) => checkpoint.tensors.get(name)!)
        : [entry];
      const { name, dtype, shape } = weight ?? entry;
      const reader = async (): Promise<Read> => {
        if (weight) return unpackedReader(checkpoint, layout, weight);
        if (entry.byteLength <= SMALL_BYTES) return readSmall(place);
        return (start, length) => checkpoint.readRange(name, start, length);
      };
      const entries = { name, dtype, shape };
      const counts = zeros ? await countNonZeros(entries, await reader(), rest) : undefined;
      const report: TensorReport = {
        name,
        dtype,
        shape,
        ...(entry.stored && { storedAs: entry.stored.type }),
        bytes: storedBytes(parts),
        file: entry.file,
        layout: weight ? layout.name : "dense",
        sparsity: counts && sizeOf(shape) > 0 ? 1 - counts.nonZeros / sizeOf(shape) : undefined,
        pattern: weight && layout.holds === "2:4" ? "2:4" : counts?.pattern,
      };
      tensors.push(report);
      seen += report.bytes;
      yield { name, fraction: total > 0 ? seen / total : 1 };
    }
    return {
      path: checkpoint.folder.path,
      layout: layout.name,
      metadata: checkpoint.metadata,
      tensors,
      forms: Object.fromEntries([...forms].map(([name, form]) => [name, describe(form)])),
      peers: Object.fromEntries(
        [...forms].flatMap(([name, form]) => {
          const peer = densePeer(form);
          return peer ? [[name, peer]] : [];
        }),
      ),
      bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
      parameters: tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    };
  } finally {
    if (typeof source === "string") await checkpoint.close();
  }
}

/** The dtypes whose zeros are counted. */
const FLOATS: readonly StoredDType[] = ["F32", "F64", "F16", "BF16"];

/** Reads whether element i is non-zero, straight from the bytes of one of `FLOATS`. */
function nonZeroTest(
  dtype: StoredDType,
  { buffer, byteOffset, byteLength }: Uint8Array,
): (i: number) => boolean {
  if (dtype === "F32") {
    const values = new Float32Array(buffer, byteOffset, byteLength / 4);
    return (i) => values[i] !== 0;
  }
  if (dtype === "F64") {
    const values = new Float64Array(buffer, byteOffset, byteLength / 8);
    return (i) => values[i] !== 0;
  }
  const bits = new Uint16Array(buffer, byteOffset, byteLength / 2);
  return (i) => (bits[i] & 0x7fff) !== 0;
}

/** How many elements of one of `FLOATS` are not zero; loops over one kind of array are quick. */
function countIn(dtype: StoredDType, { buffer, byteOffset, byteLength }: Uint8Array): number {
  let count = 0;
  if (dtype === "F64") {
    for (const value of new Float64Array(buffer, byteOffset, byteLength / 8)) {
      if (value !== 0) count++;
    }
    return count;
  }
  if (dtype === "F32") {
    const bits = new Int32Array(buffer, byteOffset, byteLength / 4);
    for (let i = 0; i < bits.length; i++) if (bits[i] << 1 !== 0) count++;
    return count;
  }
  const bits = new Uint16Array(buffer, byteOffset, byteLength / 2);
  for (let i = 0; i < bits.length; i++) if ((bits[i] & 0x7fff) !== 0) count++;
  return count;
}

/** Reads some bytes of a tensor, which begin at a multiple of 8 in their buffer. */
type Read = (start: number, length: number) => Promise<Uint8Array>;

/**
 * Reads tensors that are small together with the small ones that follow, as most files of very many
 * tensors hold small ones.
 *
 * @param stored in the order of their bytes
 */
function smallReader(
  checkpoint: Checkpoint,
  stored: readonly CheckpointTensor[],
): (place: number) => Read {
  /** Where the bytes of the tensors that were read lie, and which file they are of. */
  let bytes = new Uint8Array(0);
  let [first, end] = [0, 0];
  let file: string | undefined;
  const readFrom = async (place: number): Promise<void> => {
    const run: string[] = [];
    const { byteOffset } = stored[place];
    [first, end, file] = [byteOffset, byteOffset, stored[place].file];
    for (let i = place; i < stored.length; i++) {
      const { name, byteLength, byteOffset, file: other } = stored[i];
      if (other !== file || byteOffset !== end || byteLength > SMALL_BYTES) break;
      run.push(name);
      end += byteLength;
      if (end - first >= CHUNK_BYTES) break;
    }
    bytes = (await checkpoint.readRun(run)) as Uint8Array<ArrayBuffer>;
  };
  return (place) => async (start, length) => {
    const { byteOffset, byteLength, file: own } = stored[place];
    const isThere = file === own && byteOffset >= first && byteOffset + byteLength <= end;
    if (!isThere) await readFrom(place);
    const at = byteOffset - first + start;
    // A copy where the elements of a type of up to 8 bytes would not be aligned.
    return at % 8 === 0 ? bytes.subarray(at, at + length) : bytes.slice(at, at + length);
  };
}

/** Reads the elements of a packed weight, which is unpacked as a whole. */
async function unpackedReader(
  checkpoint: Checkpoint,
  layout: Layout,
  weight: TensorEntry,
): Promise<Read> {
  const parts = new Map<string, Uint8Array>();
  for (const { name } of layout.entries(weight)) parts.set(name, await checkpoint.read(name));
  const bytes = layout.unpack(weight, parts);
  return async (start, length) => bytes.slice(start, start + length);
}

/** Non-zeros of a float tensor, and the strictest pattern that all its rows keep to. */
async function countNonZeros(
  { dtype, shape }: TensorEntry,
  read: Read,
  rest: () => Promise<void>,
): Promise<{ nonZeros: number; pattern: string | undefined } | undefined> {
  const size = sizeOf(shape);
  const cols = shape.at(-1) ?? 1;
  const byteLength = size * DTYPE_BYTES[dtype];
  const rowBytes = size > 0 ? DTYPE_BYTES[dtype] * cols : 0;
  const step = Math.max(1, Math.floor(CHUNK_BYTES / Math.max(1, rowBytes))) * rowBytes;
  const open = new Set(
    shape.length === 2 ? PATTERNS.filter(({ m }) => cols > 0 && cols % m === 0) : [],
  );
  let nonZeros = 0;
  if (!FLOATS.includes(dtype)) return undefined;
  for (let start = 0; start < byteLength; start += step) {
    await rest();
    const bytes = await read(start, Math.min(step, byteLength - start));
    const isNonZero = nonZeroTest(dtype, bytes);
    const elements = (bytes.length / rowBytes) * cols;
    nonZeros += countIn(dtype, bytes);
    for (const pattern of open) {
      if (exceeds(isNonZero, elements, pattern.n, pattern.m)) open.delete(pattern);
    }
  }
  // A dense matrix keeps to no pattern; an all-zero one keeps to the strictest.
  const [pattern] = open;
  return { nonZeros, pattern: pattern?.name };
}

/** Whether any m consecutive elements hold more than n non-zeros; rows are whole groups. */
function exceeds(
  isNonZero: (i: number) => boolean,
  elements: number,
  n: number,
  m: number,
): boolean {
  for (let start = 0; start < elements; start += m) {
    let count = 0;
    for (let i = start; i < start + m; i++) if (isNonZero(i)) count++;
    if (count > n) return true;
  }
  return false;
}
