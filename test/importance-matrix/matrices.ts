/** Importance matrices of models in memory, and a model that is wide enough for them to matter. */
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { type Importance, readImportance } from "../../src/checkpoint/gguf/importance.js";
import {
  type ImportanceMatrixEvent,
  type ImportanceMatrixOptions,
  type ImportanceMatrixResult,
  importanceMatrix,
} from "../../src/importance-matrix.js";
import { memoryFolder, memoryOutputFolder, memorySource } from "../../src/platform/files.js";
import {
  CALIBRATION,
  type Files,
  floats,
  parseWeights,
  type Stored,
  widen,
  withWeights,
} from "../compress/stories.js";

/** A text for the tokenizer of small models. */
export const LETTERS = Array.from({ length: 600 }, (_, i) =>
  String.fromCharCode(97 + ((i * 7 + (i >> 3)) % 26)),
).join("");

export interface Gathered {
  readonly bytes: Uint8Array;
  readonly read: Importance;
  readonly events: readonly ImportanceMatrixEvent[];
  readonly result: ImportanceMatrixResult;
}

/** Makes the importance matrix of a model, on a short text. */
export async function gathered(
  model: Checkpoint,
  options: Partial<ImportanceMatrixOptions> = {},
): Promise<Gathered> {
  const out = memoryOutputFolder("out");
  const usual = { calibration: CALIBRATION, samples: 8, length: 64 };
  const run = importanceMatrix({ ...usual, ...options, model, out });
  const events: ImportanceMatrixEvent[] = [];
  for await (const event of run) events.push(event);
  const bytes = out.files["imatrix.gguf"];
  const read = await readImportance(memorySource("imatrix.gguf", bytes));
  return { bytes, read, events, result: await run.result() };
}

/** bf16 of numbers that it holds exactly. */
function halved(values: Float32Array): Uint8Array {
  const bits = new Uint32Array(values.map((value) => value / 2).buffer);
  return new Uint8Array(Uint16Array.from(bits, (word) => word >>> 16).buffer);
}

/** Each row twice in a row. */
function twice(bytes: Uint8Array, rows: number): Uint8Array {
  const width = bytes.length / rows;
  const all = Array.from({ length: rows }, (_, i) => bytes.subarray(i * width, (i + 1) * width));
  return new Uint8Array(Buffer.concat(all.flatMap((row) => [row, row])));
}

/**
 * The embedded model with each neuron and each feature of the stream twice, what reads them halved: the same
 * function, but 256 and 768 columns wide, as K types need it. Outputs of attention keep 128.
 */
export async function wideStories(files: Files): Promise<Files> {
  const weights = new Map<string, Stored>();
  for (const [name, stored] of parseWeights(await widen(files)).tensors) {
    const { shape, bytes } = stored;
    const [rows, cols] = shape;
    // Two neurons do for one.
    if (/down_proj/.test(name)) {
      const half = halved(floats(stored));
      const both = new Uint8Array(Buffer.concat([half, half]));
      weights.set(name, { ...stored, shape: [2 * rows, cols], bytes: both });
    } else if (/o_proj/.test(name)) {
      const both = new Uint8Array(Buffer.concat([bytes, bytes]));
      weights.set(name, { ...stored, shape: [2 * rows, cols], bytes: both });
    } else if (cols === undefined) {
      // The head reads both halves of the stream.
      const own = name === "model.norm.weight" ? halved(floats(stored)) : bytes;
      weights.set(name, { ...stored, shape: [2 * rows], bytes: twice(own, 1) });
    } else {
      const own = name.includes("embed_tokens") ? bytes : halved(floats(stored));
      weights.set(name, { ...stored, shape: [rows, 2 * cols], bytes: twice(own, rows) });
    }
  }
  return withWeights(files, weights, { hidden_size: 256, intermediate_size: 768 });
}

export function opened(files: Files): Promise<Checkpoint> {
  return openCheckpoint(memoryFolder(files, "model"));
}
