/** GGUF files that are written tensor by tensor, so that a piece of one at a time is in memory. */
import { PenjingError } from "../../../errors.js";
import type { ByteSink, OutputFolder } from "../../../platform/files.js";
import { quote } from "../../../quote.js";
import { checkShardBytes } from "../../checkpoint-writer.js";
import { listNames } from "../../safetensors-writer.js";
import { entryBytes, type GgufEntry, type MadeHeader, makeHeader } from "./header.js";
import type { KeyValues } from "./values.js";

/** Most parts that names have digits for. */
const MAX_PARTS = 99_999;

export interface GgufFileOptions {
  /** Name of the file, as in "model.gguf"; of several, the numbers go before the ending. */
  readonly name: string;
  readonly keys: KeyValues;
  /** Every tensor that will be written, in the order they are to be stored. */
  readonly entries: readonly GgufEntry[];
  /**
   * Most bytes of tensors in one file; a larger tensor has a file of its own.
   *
   * @default all in one
   */
  readonly shardBytes?: number | undefined;
}

/** GGUF files being written. */
export interface GgufWriter {
  /** Their names, in order. */
  readonly files: readonly string[];
  /** Bytes of all tensors. */
  readonly totalBytes: number;
  /** Writes a part of a tensor from its byte `start` on; no byte is written twice. */
  writeRange(name: string, start: number, bytes: Uint8Array): Promise<void>;
  /** Checks that every tensor is complete. The output is not yet committed. */
  finish(): Promise<void>;
}

interface Part {
  readonly name: string;
  readonly header: MadeHeader;
  /** Bytes of tensors that are still to come, by name. */
  readonly missing: Map<string, number>;
  sink?: Promise<ByteSink> | undefined;
  isFinished: boolean;
}

/**
 * The name of a file that is written to a path, or into an output folder.
 *
 * @param usual its name in an output folder that is not on disk
 * @param what says what is made, for messages
 * @throws PenjingError for a path that does not end in .gguf
 */
export function ggufName(out: string | OutputFolder, usual: string, what: string): string {
  if (typeof out !== "string") return usual;
  if (/\.gguf$/i.test(out)) return out.split(/[/\\]/).at(-1)!;
  throw new PenjingError(
    out,
    `${what}, whose name ends in .gguf; give such a name, as in "${out.replace(/[/\\]+$/, "")}.gguf".`,
  );
}

/** Cuts tensors into files in order: a file ends when the next tensor would exceed the limit. */
function planParts(entries: readonly GgufEntry[], shardBytes: number): GgufEntry[][] {
  const parts: GgufEntry[][] = [[]];
  let filled = 0;
  for (const entry of entries) {
    const bytes = entryBytes(entry);
    if (filled > 0 && filled + bytes > shardBytes) {
      parts.push([]);
      filled = 0;
    }
    parts[parts.length - 1].push(entry);
    filled += bytes;
  }
  return parts;
}

/** model.gguf, or model-00001-of-00003.gguf and so on. */
function partName(name: string, index: number, count: number): string {
  if (count === 1) return name;
  const number = (value: number): string => String(value).padStart(5, "0");
  return name.replace(/\.gguf$/i, (ending) => `-${number(index + 1)}-of-${number(count)}${ending}`);
}

/** The keys of one of several files: all of them in the first one. */
function partKeys(keys: KeyValues, index: number, count: number, tensors: number): KeyValues {
  if (count === 1) return keys;
  return {
    ...(index === 0 && keys),
    "split.no": ["U16", index],
    "split.count": ["U16", count],
    "split.tensors.count": ["I32", tensors],
  };
}

/**
 * Begins the GGUF file of a model, or its several files. A file is created when its first bytes come and
 * brought safely to the disk as soon as its last ones are there. The caller commits or discards `output`.
 *
 * @throws PenjingError for a tensor whose name is longer than 63 bytes, and too many files
 */
export function createGguf(output: OutputFolder, options: GgufFileOptions): GgufWriter {
  const { name, keys, entries, shardBytes = Number.POSITIVE_INFINITY } = options;
  checkShardBytes(shardBytes);
  const plan = planParts(entries, shardBytes);
  if (plan.length > MAX_PARTS) {
    throw new PenjingError(
      "shardBytes",
      `${shardBytes} bytes a file would make ${plan.length} files, more than the ${MAX_PARTS} that are read; choose a larger value.`,
    );
  }
  const parts = plan.map((some, i): Part => {
    const own = partName(name, i, plan.length);
    const header = makeHeader(own, partKeys(keys, i, plan.length, entries.length), some);
    const missing = new Map(some.map((entry) => [entry.name, entryBytes(entry)]));
    return { name: own, header, missing, isFinished: false };
  });
  const partOf = new Map<string, Part>();
  for (const part of parts) for (const one of part.missing.keys()) partOf.set(one, part);
  const begin = (part: Part): Promise<ByteSink> => {
    part.sink ??= output.create(part.name).then(async (sink) => {
      await sink.write(0, part.header.bytes);
      return sink;
    });
    return part.sink;
  };
  const end = async (part: Part): Promise<void> => {
    part.isFinished = true;
    await (await begin(part)).finish();
  };
  return {
    files: parts.map((part) => part.name),
    totalBytes: entries.reduce((sum, entry) => sum + entryBytes(entry), 0),
    async writeRange(tensor, start, bytes) {
      const part = partOf.get(tensor);
      const left = part?.missing.get(tensor);
      if (!part || left === undefined || bytes.length > left) {
        throw new PenjingError(
          output.path,
          `the tensor ${quote(tensor)} was not announced, or more of it came than it has.`,
        );
      }
      const sink = await begin(part);
      const { offset, byteLength, padding } = part.header.slots.get(tensor)!;
      if (bytes.length > 0) await sink.write(offset + start, bytes);
      part.missing.set(tensor, left - bytes.length);
      if (left > bytes.length) return;
      if (padding > 0) await sink.write(offset + byteLength, new Uint8Array(padding));
      part.missing.delete(tensor);
      if (part.missing.size === 0) await end(part);
    },
    async finish() {
      const missing = parts.flatMap((part) => [...part.missing.keys()]);
      if (missing.length > 0) {
        throw new PenjingError(
          output.path,
          `${missing.length} of ${entries.length} tensors were not written in full: ${listNames(missing)}.`,
        );
      }
      for (const part of parts) if (!part.isFinished) await end(part);
    },
  };
}
