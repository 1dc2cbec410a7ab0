import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { createCheckpoint } from "../../src/checkpoint/checkpoint-writer.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import {
  type CompressEvent,
  type CompressOptions,
  type CompressResult,
  compress,
} from "../../src/compress.js";
import type { TensorEntry } from "../../src/layout.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { repositoryRoot } from "../shared.js";

export type Files = Readonly<Record<string, Uint8Array>>;

const FOLDER = join(repositoryRoot, "examples", "stories-1m");
export const CALIBRATION = readFileSync(join(FOLDER, "calibration.txt"), "utf8");
export const EVALUATION = readFileSync(join(FOLDER, "evaluation.txt"), "utf8");

/** Calibration that takes a fraction of a second. */
export const QUICK: FlatRecipe = { samples: 4, length: 32 };

/** A model folder's files, texts left out. */
export function modelFiles(folder: string): Record<string, Uint8Array> {
  const names = readdirSync(folder).filter((name) => !name.endsWith(".txt"));
  return Object.fromEntries(
    names.map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]),
  );
}

/** The embedded model's folder. */
export function storyFiles(): Record<string, Uint8Array> {
  return modelFiles(FOLDER);
}

export interface Compressed {
  readonly files: Files;
  readonly result: CompressResult;
  readonly events: readonly CompressEvent[];
}

/** Compresses a folder in memory, on one thread: more only make so small a model slower. */
export async function compressFiles(
  files: Files,
  recipe: FlatRecipe = {},
  options: Partial<CompressOptions> = {},
): Promise<Compressed> {
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(files, "model"));
  const calibration = CALIBRATION;
  const given = { model, out, calibration, recipe: { ...QUICK, ...recipe }, threads: 1 };
  const run = compress({ ...given, ...options });
  const events: CompressEvent[] = [];
  for await (const event of run) events.push(event);
  return { files: out.files, result: await run.result(), events };
}

/** A tensor as a reader of its own finds it: this one shares no code with the program's. */
export interface Stored {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** The tensors and metadata of all weight files of a folder. */
export function parseWeights(files: Files): {
  readonly tensors: ReadonlyMap<string, Stored>;
  readonly metadata: Readonly<Record<string, string>>;
} {
  const tensors = new Map<string, Stored>();
  let metadata: Record<string, string> = {};
  for (const [name, file] of Object.entries(files)) {
    if (!name.endsWith(".safetensors")) continue;
    const start = 8 + new DataView(file.buffer, file.byteOffset).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(file.subarray(8, start)));
    metadata = header.__metadata__;
    for (const [tensor, { dtype, shape, data_offsets }] of Object.entries<{
      dtype: string;
      shape: number[];
      data_offsets: [number, number];
    }>(header)) {
      if (tensor === "__metadata__") continue;
      const [from, to] = data_offsets.map((offset) => start + offset);
      tensors.set(tensor, { dtype, shape, bytes: file.slice(from, to) });
    }
  }
  return { tensors, metadata };
}

/** bf16 as numbers. */
export function floats({ bytes }: Stored): Float32Array {
  const bits = new Uint16Array(bytes.buffer);
  return new Float32Array(Uint32Array.from(bits, (half) => half << 16).buffer);
}

export function configOf(files: Files): Record<string, unknown> {
  return JSON.parse(new TextDecoder().decode(files["config.json"]));
}

/** A folder with other weights or another config. */
export async function withWeights(
  files: Files,
  weights: ReadonlyMap<string, Stored>,
  config: Readonly<Record<string, unknown>> = {},
  metadata: Readonly<Record<string, string>> = {},
): Promise<Files> {
  const out = memoryOutputFolder();
  const tensors = [...weights].map(
    ([name, { dtype, shape }]) => ({ name, dtype, shape }) as TensorEntry,
  );
  const writer = await createCheckpoint(out, { tensors, metadata });
  for (const [name, { bytes }] of weights) await writer.write(name, bytes);
  await writer.finish();
  await out.commit();
  const text = JSON.stringify({ ...configOf(files), ...config });
  return { ...files, ...out.files, "config.json": new TextEncoder().encode(text) };
}

/** The embedded model with its blocks repeated until there are `layers`. */
export async function repeatBlocks(files: Files, layers: number): Promise<Files> {
  const weights = new Map<string, Stored>();
  for (const [name, stored] of parseWeights(files).tensors) {
    const block = /^model\.layers\.(\d+)\./.exec(name);
    if (!block) weights.set(name, stored);
    const first = block ? Number(block[1]) : layers;
    for (let layer = first; layer < layers; layer += 4) {
      weights.set(name.replace(/\d+/, String(layer)), stored);
    }
  }
  return withWeights(files, weights, { num_hidden_layers: layers });
}

/** The embedded model with each neuron twice, whose Hessians take more room than its weights. */
export async function widen(files: Files): Promise<Files> {
  const weights = new Map<string, Stored>();
  for (const [name, stored] of parseWeights(files).tensors) {
    const [rows, cols] = stored.shape;
    const isDown = name.endsWith("down_proj.weight");
    if (!isDown && !name.includes(".mlp.")) {
      weights.set(name, stored);
      continue;
    }
    // Rows are doubled one by one, or all together.
    const [count, shape] = isDown ? [rows, [rows, 2 * cols]] : [1, [2 * rows, cols]];
    const size = stored.bytes.length / count;
    const pieces = Array.from({ length: count }, (_, i) => {
      const piece = stored.bytes.subarray(i * size, (i + 1) * size);
      return [piece, piece];
    });
    weights.set(name, { ...stored, shape, bytes: new Uint8Array(Buffer.concat(pieces.flat())) });
  }
  const { intermediate_size: neurons } = configOf(files);
  return withWeights(files, weights, { intermediate_size: 2 * (neurons as number) });
}

/** The embedded model in another dtype. */
export async function convert(files: Files, dtype: "F32" | "F64"): Promise<Files> {
  const weights = new Map<string, Stored>();
  const Elements = dtype === "F32" ? Float32Array : Float64Array;
  for (const [name, stored] of parseWeights(files).tensors) {
    const bytes = new Uint8Array(Elements.from(floats(stored)).buffer);
    weights.set(name, { ...stored, dtype, bytes });
  }
  return withWeights(files, weights);
}

/** Asserts that two folders are the same; assert.equal would print megabytes. */
export function sameFiles(one: Files, two: Files): void {
  assert.equal(Object.keys(one).sort(), Object.keys(two).sort());
  for (const [name, bytes] of Object.entries(one)) {
    assert.is(Buffer.compare(bytes, two[name]), 0, `${name} differs`);
  }
}
