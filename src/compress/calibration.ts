import type { Backend } from "../backend.js";
import { DTYPE_BYTES, toFloat32 } from "../checkpoint/dtype.js";
import { outerTensors } from "../model.js";
import { BlockRunner } from "../models/decoder.js";
import { embeddingName, PIECE_BYTES, type StoredModel } from "../models/stored.js";
import { nonFinite } from "../models/weights.js";
import type { WorkFolder } from "../platform/work-folder.js";
import { pacer } from "../run.js";
import type { Settings } from "./settings.js";
import { ResidualStream } from "./stream.js";
import type { Windows } from "./windows.js";

/** Tokens that go through a block at a time, or one window where it is longer. */
const BATCH_TOKENS = 2048;

/** The residual stream of the calibration windows, and what runs blocks over it. */
export interface Calibration {
  readonly runner: BlockRunner;
  /** [samples * length, hiddenSize], updated in place from block to block. */
  readonly stream: ResidualStream;
  /** The same in the dense model, where a statistic compares the two. */
  readonly dense?: ResidualStream | undefined;
  readonly samples: number;
  readonly length: number;
}

/** Begins the names of streams in a folder: none that a part of a run has which is to be kept. */
const SCRATCH = "scratch";

/** Windows of `length` tokens that go through a block at a time. */
export function batchSequences(samples: number, length: number): number {
  return Math.min(samples, Math.max(1, Math.floor(BATCH_TOKENS / length)));
}

export interface CalibrationOptions {
  /** Whether the dense model's stream is there too. @default false */
  readonly twice?: boolean | undefined;
  /** Where the streams lie, but for one chunk of each. @default in memory */
  readonly folder?: WorkFolder | undefined;
  /** Tells their chunks in a folder from those of others. @default "" */
  readonly name?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Embeds the calibration windows and sets up what runs blocks over them.
 *
 * @throws PenjingError when there is no memory for the stream, and for an embedding of NaN or infinity
 */
export async function openCalibration(
  model: StoredModel,
  backend: Backend,
  { ids, samples }: Pick<Windows, "ids" | "samples">,
  { length, stream: dtype }: Pick<Settings, "length" | "stream">,
  { twice, folder, name = "", signal }: CalibrationOptions = {},
): Promise<Calibration> {
  const { spec } = model;
  const together = batchSequences(samples, length) * length;
  const options = { dtype, folder, together, name: `${SCRATCH}.${name}stream` };
  const stream = new ResidualStream(backend, ids.length, spec.hiddenSize, options);
  try {
    await embedTokens(model, ids, stream, length, signal);
    const runner = new BlockRunner(backend, spec, together, length);
    const dense = twice ? await stream.copy(`${SCRATCH}.${name}dense`) : undefined;
    return { runner, stream, dense, samples, length };
  } catch (error) {
    await stream.close();
    throw error;
  }
}

export async function closeCalibration(calibration: Calibration): Promise<void> {
  calibration.runner.dispose();
  for (const [, stream] of streamsOf(calibration)) await stream.close();
}

/** Its streams by the names that they are kept under. */
export function streamsOf({
  stream,
  dense,
}: Calibration): [name: string, stream: ResidualStream][] {
  return [["stream", stream], ...(dense ? ([["dense", dense]] as [string, ResidualStream][]) : [])];
}

/** A learned embedding of the first positions, [length, hiddenSize]; undefined where there is none. */
async function readPositions(
  { spec, weights, checkpoint }: StoredModel,
  length: number,
): Promise<Float32Array | undefined> {
  if (!spec.positions) return undefined;
  const { positions: name } = outerTensors(spec);
  const { dtype, shape } = weights.get(name)!;
  const rowBytes = DTYPE_BYTES[dtype] * shape[1];
  const start = spec.positions.offset * rowBytes;
  const bytes = await checkpoint.readRange(name, start, length * rowBytes);
  return toFloat32({ name, dtype }, bytes);
}

/**
 * Fills a stream [tokens, hiddenSize] with what stands before the first block: the embeddings of ids,
 * scaled, and of their positions in windows of `length`, as the model has it. The table is read piece
 * by piece and only where it is used, since it can be larger than many blocks; once, or once a chunk
 * where chunks lie in a folder.
 *
 * @throws PenjingError when a row that is used holds NaN or infinity
 */
export async function embedTokens(
  model: StoredModel,
  ids: Int32Array,
  stream: ResidualStream,
  length: number,
  signal?: AbortSignal,
): Promise<void> {
  const { embeddingScale: scale = 1 } = model.spec;
  // Without windows their length means nothing.
  const positions = ids.length > 0 ? await readPositions(model, length) : undefined;
  const name = embeddingName(model);
  const { dtype, shape } = model.weights.get(name)!;
  const [vocabSize, cols] = shape;
  const rowBytes = DTYPE_BYTES[dtype] * cols;
  const rows = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  const rest = pacer(signal);
  for (let start = 0; start < ids.length; start += stream.rowsAtHand) {
    const some = ids.subarray(start, start + stream.rowsAtHand);
    const order = Array.from(some.keys()).sort((a, b) => some[a] - some[b]);
    for (let next = 0; next < order.length; ) {
      await rest();
      const first = some[order[next]];
      const count = Math.min(rows, vocabSize - first);
      const bytes = await model.checkpoint.readRange(name, first * rowBytes, count * rowBytes);
      while (next < order.length && some[order[next]] < first + count) {
        const id = some[order[next]];
        const at = (id - first) * rowBytes;
        const row = toFloat32({ name, dtype }, bytes.subarray(at, at + rowBytes));
        const bad = row.filter((value) => !Number.isFinite(value)).length;
        if (bad > 0) throw nonFinite(model.checkpoint.folder.path, name, bad);
        const scaled = scale === 1 ? row : row.map((value) => value * scale);
        for (; some[order[next]] === id; next++) {
          const at = start + order[next];
          const first = (at % length) * cols;
          await stream.put(at, positions ? scaled.map((x, i) => x + positions[first + i]) : scaled);
        }
      }
    }
  }
}
