/** Whether models have room: what they would take, beside what they may. */
import type { Backend } from "../backend.js";
import { WASM_BYTES } from "../backends/memory.js";
import { bytesText } from "../bytes-text.js";
import { PenjingError } from "../errors.js";
import { machineMemory } from "../platform/memory.js";
import { CountedModel, type CountedModelOptions } from "./held.js";
import { KeyValueCache } from "./layers/key-value-cache.js";
import type { StoredModel } from "./stored.js";

/** Bytes that work may take. */
export interface Room {
  /** In all; absent where nobody tells. */
  readonly whole?: number | undefined;
  /** Ends "... and", of what there is in all. */
  readonly has: string;
}

/** @param maxMemory what was asked for. @default what the machine, or its container, has */
export async function roomOf(maxMemory: number | undefined): Promise<Room> {
  if (maxMemory !== undefined) {
    return { whole: maxMemory, has: `\`maxMemory\` allows ${bytesText(maxMemory)}` };
  }
  const { whole } = await machineMemory();
  return { whole, has: `this machine has ${bytesText(whole ?? 0)}` };
}

/** What work takes. */
export interface Taken {
  /** Bytes in each WebAssembly memory. */
  readonly wasm: readonly number[];
  /** Bytes beside them. @default 0 */
  readonly beside?: number | undefined;
}

function sumOf({ wasm, beside = 0 }: Taken): number {
  return wasm.reduce((sum, one) => sum + one, beside);
}

/** Whether there is room for it. */
export function fits(taken: Taken, { whole = Number.POSITIVE_INFINITY }: Room): boolean {
  return sumOf(taken) <= whole && Math.max(...taken.wasm) <= WASM_BYTES;
}

/** What work takes too much of. A clause without its subject, as in "would take ... allows 4.00 GB". */
export function excess(taken: Taken, room: Room): string {
  const most = Math.max(...taken.wasm);
  if (most > WASM_BYTES) {
    return `would take ${bytesText(most)} in a WebAssembly memory, which holds ${bytesText(WASM_BYTES)}`;
  }
  return `would take ${bytesText(sumOf(taken))} of memory, and ${room.has}`;
}

/**
 * Counts what some work with models takes.
 *
 * @param work runs them; their numbers mean nothing
 * @returns most bytes of each; undefined where the headers do not tell, which the work itself will say
 */
export async function count(
  models: readonly StoredModel[],
  options: CountedModelOptions,
  work: (models: readonly CountedModel[]) => Promise<void>,
): Promise<number[] | undefined> {
  const counted: CountedModel[] = [];
  try {
    for (const model of models) counted.push(await CountedModel.open(model, options));
    await work(counted);
    return counted.map(({ peak }) => peak);
  } catch {
    options.signal?.throwIfAborted();
    return undefined;
  } finally {
    for (const one of counted) one.dispose();
  }
}

export interface FitOptions extends Omit<CountedModelOptions, "lowMemory"> {
  readonly maxMemory?: number | undefined;
  /** Positions of the cache that it is to run with. @default 0 */
  readonly cacheTokens?: number | undefined;
}

/**
 * Looks whether there is room for a model whose weights are all in memory.
 *
 * @throws PenjingError where there is not, before anything is loaded
 */
export async function refuseLarge(
  model: StoredModel,
  backend: Backend,
  { maxMemory, cacheTokens = 0, ...options }: FitOptions,
): Promise<void> {
  // A GPU has a memory of its own.
  if (backend.name !== "wasm") return;
  const wasm = await count([model], options, async ([{ decoder, spec, backend: counting }]) => {
    const cache = new KeyValueCache(counting, spec, cacheTokens);
    const logits = counting.zeros([1, spec.vocabSize]);
    const tokens = new Int32Array(Math.min(options.maxTokens, cacheTokens || options.maxTokens));
    decoder.logits(tokens, logits, cacheTokens > 0 ? cache : undefined);
  });
  const room = await roomOf(maxMemory);
  if (!wasm || fits({ wasm }, room)) return;
  const isBeyondAll = wasm[0] > WASM_BYTES;
  const where = isBeyondAll ? "give `backend: webgpu` where there is a GPU" : "allow more";
  throw new PenjingError(
    model.checkpoint.folder.path,
    `the model ${excess({ wasm }, room)}; make it smaller with penjing compress, choose a smaller one, or ${where}.`,
  );
}
