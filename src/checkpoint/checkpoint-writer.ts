import { PenjingError } from "../errors.js";
import type { TensorEntry } from "../layout.js";
import type { OutputFolder } from "../platform/files.js";
import { quote } from "../quote.js";
import type { Checkpoint } from "./checkpoint.js";
import {
  byteLengthOf,
  bytesOf,
  checkNames,
  listNames,
  type SafetensorsWriter,
  writeSafetensors,
} from "./safetensors-writer.js";
import { INDEX_NAME, MAX_SHARDS, WEIGHTS_NAME } from "./weight-files.js";

/** Bytes that are in memory at a time while a file is copied. */
const COPY_BYTES = 1 << 22;

export interface CheckpointWriterOptions {
  /** Every tensor that will be written, in the order they are to be stored. */
  readonly tensors: readonly TensorEntry[];
  /**
   * Texts for every weight file's `__metadata__`. `format: "pt"`, which transformers asks for, is
   * added unless a format is given.
   *
   * @default {}
   */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /**
   * Most bytes of tensors in one weight file; a larger tensor has a file of its own.
   *
   * @default 5e9
   */
  readonly shardBytes?: number | undefined;
}

/** A model folder being written. */
export interface CheckpointWriter {
  /** Names of the weight files, in order. */
  readonly files: readonly string[];
  /** Bytes of all tensors. */
  readonly totalBytes: number;
  /** Writes a whole tensor: its little-endian elements, row-major. Tensors may come in any order. */
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Writes a part of a tensor from its byte `byteStart` on. */
  writeRange(name: string, byteStart: number, bytes: Uint8Array): Promise<void>;
  /** Checks that every tensor is complete and writes the index. The folder is not yet committed. */
  finish(): Promise<void>;
}

/** Cuts tensors into shards in order: a shard closes when the next tensor would exceed the limit. */
function planShards(tensors: readonly TensorEntry[], shardBytes: number): TensorEntry[][] {
  const shards: TensorEntry[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    const bytes = byteLengthOf(tensor);
    if (filled > 0 && filled + bytes > shardBytes) {
      shards.push([]);
      filled = 0;
    }
    shards[shards.length - 1].push(tensor);
    filled += bytes;
  }
  return shards;
}

/** model.safetensors, or model-00001-of-00003.safetensors and so on. */
function shardName(index: number, count: number): string {
  if (count === 1) return WEIGHTS_NAME;
  const number = (value: number): string => String(value).padStart(5, "0");
  return `model-${number(index + 1)}-of-${number(count)}.safetensors`;
}

interface Shard {
  readonly name: string;
  readonly entries: readonly TensorEntry[];
  writer?: Promise<SafetensorsWriter> | undefined;
  finished: boolean;
}

/** @throws PenjingError when it is not above 0 */
export function checkShardBytes(shardBytes: number): void {
  if (shardBytes > 0) return;
  throw new PenjingError(
    "shardBytes",
    `it must be a positive number of bytes, found ${shardBytes}.`,
  );
}

/**
 * Begins a model folder in Hugging Face form. A weight file is created when its first tensor comes
 * and brought safely to the disk as soon as its last one is there, so that a tensor at a time is
 * in memory. The caller commits or discards `output`.
 */
export function createCheckpoint(
  output: OutputFolder,
  options: CheckpointWriterOptions,
): CheckpointWriter {
  const { tensors, shardBytes = 5e9 } = options;
  const metadata = { format: "pt", ...options.metadata };
  checkShardBytes(shardBytes);
  checkNames(output.path, tensors);
  const plan = planShards(tensors, shardBytes);
  if (plan.length > MAX_SHARDS) {
    throw new PenjingError(
      "shardBytes",
      `${shardBytes} bytes a file would make ${plan.length} files, more than the ${MAX_SHARDS} that are read; choose a larger value.`,
    );
  }
  const shards = plan.map(
    (entries, i): Shard => ({ name: shardName(i, plan.length), entries, finished: false }),
  );
  const shardOf = new Map<string, Shard>();
  for (const shard of shards) for (const { name } of shard.entries) shardOf.set(name, shard);

  const begin = (shard: Shard): Promise<SafetensorsWriter> => {
    shard.writer ??= output
      .create(shard.name)
      .then((sink) => writeSafetensors(sink, shard.entries, metadata));
    return shard.writer;
  };
  /** Tensors being written to each shard now: a shard is not finished under a pending write. */
  const pending = new Map<Shard, number>();
  const put = async (
    name: string,
    action: (writer: SafetensorsWriter) => Promise<void>,
  ): Promise<void> => {
    const shard = shardOf.get(name);
    if (!shard) {
      throw new PenjingError(output.path, `the tensor ${quote(name)} was not announced.`);
    }
    pending.set(shard, (pending.get(shard) ?? 0) + 1);
    let writer: SafetensorsWriter;
    try {
      writer = await begin(shard);
      await action(writer);
    } finally {
      pending.set(shard, (pending.get(shard) ?? 1) - 1);
    }
    if (writer.isComplete() && pending.get(shard) === 0 && !shard.finished) {
      shard.finished = true;
      await writer.finish();
    }
  };
  return {
    files: shards.map((shard) => shard.name),
    totalBytes: bytesOf(tensors),
    write: (name, bytes) => put(name, (writer) => writer.write(name, bytes)),
    writeRange: (name, byteStart, bytes) =>
      put(name, (writer) => writer.writeRange(name, byteStart, bytes)),
    async finish() {
      for (const shard of shards) {
        if (shard.finished) continue;
        const writer = await begin(shard);
        await writer.finish();
        shard.finished = true;
      }
      if (shards.length > 1) await output.writeText(INDEX_NAME, indexText(shards));
    },
  };
}

function indexText(shards: readonly Shard[]): string {
  const weightMap: Record<string, string> = Object.create(null);
  let totalSize = 0;
  for (const shard of shards) {
    for (const entry of shard.entries) {
      weightMap[entry.name] = shard.name;
      totalSize += byteLengthOf(entry);
    }
  }
  const index = { metadata: { total_size: totalSize }, weight_map: weightMap };
  return `${JSON.stringify(index, null, 2)}\n`;
}

/** Copies files of a checkpoint unchanged, in pieces; by default all that belong to the model. */
export async function copyOtherFiles(
  from: Checkpoint,
  output: OutputFolder,
  names: readonly string[] = from.beside.copied,
  signal?: AbortSignal,
): Promise<void> {
  for (const name of names) await copyFile(from, output, name, signal);
}

async function copyFile(
  from: Checkpoint,
  output: OutputFolder,
  name: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const others = from.beside.copied;
  if (!others.includes(name)) {
    throw new PenjingError(
      from.folder.path,
      `${quote(name)} is not one of the files that can be copied: ${listNames(others) || "none"}.`,
    );
  }
  const source = await from.folder.open(name);
  try {
    const sink = await output.create(name);
    for (let offset = 0; offset < source.size; offset += COPY_BYTES) {
      signal?.throwIfAborted();
      const length = Math.min(COPY_BYTES, source.size - offset);
      await sink.write(offset, await source.read(offset, length));
    }
    await sink.finish();
  } finally {
    await source.close();
  }
}
