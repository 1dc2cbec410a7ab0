/**
 * What every runtime does: prune and pack a matrix, run a compressed model, and report the results
 * for the driver to compare. It imports nothing, so that one file runs everywhere; what it is given
 * and what it returns is JSON.
 */
import type * as Penjing from "../../src/index.js";

/** Bytes as base64. */
export type Text64 = string;

export interface SmokeInput {
  /** A layer to prune: float32, rows * cols weights and any number of activations. */
  readonly layer: {
    readonly rows: number;
    readonly cols: number;
    readonly sequences: number;
    readonly weight: Text64;
    readonly activations: Text64;
  };
  /** A 2:4 matrix of F16 bits. */
  readonly matrix: { readonly rows: number; readonly cols: number; readonly bytes: Text64 };
  /** The files of a compressed model. */
  readonly model: Readonly<Record<string, Text64>>;
  readonly prompt: string;
  readonly text: string;
}

/** What one backend computed. */
export interface SmokeResult {
  readonly backend: string;
  /** By method: the mask, the pruned float32 weights, and those packed and unpacked again. */
  readonly pruned: Readonly<Record<string, { mask: Text64; weight: Text64; unpacked: Text64 }>>;
  /** The parts of the matrix by layout and ending. */
  readonly parts: Readonly<Record<string, Text64>>;
  readonly ids: readonly number[];
  readonly perplexity: number;
  /** Bytes that `plan` tells for compressing the model on one thread. */
  readonly planned: number;
  /** Of wasm: whether three threads compute what one does, bit for bit, and how they ran. */
  readonly threads?: { readonly areSame: boolean; readonly how: string };
  /** Of wasm: what `doctor` found without asking the hub. */
  readonly diagnosis?: Penjing.Diagnosis;
}

const LAYOUTS = ["two-four", "cutlass", "cusparselt-sm80", "cusparselt-sm90"];
export const METHODS = ["magnitude", "wanda", "sparsegpt"];

export function encode(data: ArrayBufferView): Text64 {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

export function decode(text: Text64): Uint8Array {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** Runs everything on one backend. */
export async function smoke(
  penjing: typeof Penjing,
  input: SmokeInput,
  name: Penjing.BackendName,
): Promise<SmokeResult> {
  const backend = await penjing.openBackend(name);
  try {
    const { rows, cols, sequences, ...layer } = input.layer;
    const weight = new Float32Array(decode(layer.weight).buffer);
    const activations = new Float32Array(decode(layer.activations).buffer);
    const pruned: Record<string, { mask: Text64; weight: Text64; unpacked: Text64 }> = {};
    for (const method of METHODS) {
      const sparsity = "2:4";
      const options = { weight, rows, cols, activations, sequences, method, sparsity, backend };
      const result = await penjing.pruneLinear(options);
      const packed = penjing.packTwoFour(result.weight, rows, cols);
      pruned[method] = {
        mask: encode(result.mask),
        weight: encode(result.weight),
        unpacked: encode(penjing.unpackTwoFour(packed)),
      };
    }

    const parts: Record<string, Text64> = {};
    for (const layout of LAYOUTS) {
      const { bytes, ...shape } = input.matrix;
      const bits = new Uint16Array(decode(bytes).buffer);
      const packed = penjing.packMatrix(layout, { weight: bits, dtype: "F16", ...shape });
      for (const [ending, part] of Object.entries(packed.parts)) {
        parts[`${layout}: ${ending}`] = encode(part.bytes);
      }
    }

    const files = Object.entries(input.model).map(([file, text]) => [file, decode(text)] as const);
    const checkpoint = await penjing.openCheckpoint(
      penjing.memoryFolder(Object.fromEntries(files), "model"),
    );
    const model = await penjing.openModel(checkpoint, { backend, maxTokens: 64 });
    try {
      const { prompt, text } = input;
      const generation = await penjing.generate({ model, prompt, maxNewTokens: 6 }).result();
      const scored = await penjing.evaluatePerplexity({ model, text, window: 24 }).result();
      const ids = [...generation.ids];
      const { perplexity } = scored;
      const recipe = { method: "sparsegpt", samples: 8, length: 64 } as const;
      const { memory } = await penjing.plan({ model: checkpoint, recipe, threads: 1, rate: 1e9 });
      const planned = memory.wasm;
      const computed = { backend: backend.name, pruned, parts, ids, perplexity, planned };
      if (backend.name !== "wasm") return computed;
      const threads = await compareThreads(penjing);
      const diagnosis = await penjing.doctor({ hub: { offline: true } }).result();
      return { ...computed, threads, diagnosis };
    } finally {
      await model.close();
    }
  } finally {
    backend.dispose();
  }
}

/** Prunes a layer by one thread, and by three as soon as they have started. */
async function compareThreads(penjing: typeof Penjing): Promise<SmokeResult["threads"]> {
  const size = 256;
  const made = (seed: number) =>
    new Float32Array(size * size).map((_, i) => Math.sin(seed * (i + 1)) + Math.sin(i / 7));
  const layer = { weight: made(1.7), activations: made(2.3), rows: size, cols: size };
  const weights: Text64[] = [];
  let how = "";
  for (const threads of [1, 3]) {
    const backend = await penjing.openBackend("wasm", { threads });
    let weight: Float32Array = layer.weight;
    // Where there are none, the last turn's result counts.
    for (let turn = 0; turn < 60 && !(threads > 1 && how.includes("3 threads")); turn++) {
      ({ weight } = await penjing.pruneLinear({ ...layer, backend }));
      how = backend.served()[0].how ?? "";
      if (threads === 1) break;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    if (threads > 1) ({ weight } = await penjing.pruneLinear({ ...layer, backend }));
    weights.push(encode(weight));
    backend.dispose();
  }
  return { areSame: weights[0] === weights[1], how };
}

/** What a call that must fail says: the message, and whether it is penjing's own error. */
export async function refusal(
  penjing: typeof Penjing,
  run: () => Promise<unknown>,
): Promise<{ own: boolean; message: string }> {
  try {
    await run();
  } catch (error) {
    return {
      own: error instanceof penjing.PenjingError,
      message: String((error as Error).message),
    };
  }
  return { own: false, message: "nothing was refused" };
}
