/** Whether models have room: what they would take, beside what they may. */
import type { Backend } from "../backend.js";
import { WASM_BYTES } from "../backends/memory.js";
import { bytesText } from "../bytes-text.js";
import { PenjingError } from "../errors.js";
import { machineMemory } from "../platform/memory.js";
import { CountedModel, type CountedModelOptions } from "./held.js";
import type { KvCache } from "./layers/key-value-cache.js";
import { shareOut } from "./share-out.js";
import type { StoredModel } from "./stored.js";

/** Bytes that work may take. */
export interface Room {
  /** In all; absent where nobody tells. */
  readonly whole?: number | undefined;
  /** Ends "... and", of what there is in all. */
  readonly has: string;
  /** In one WebAssembly memory. @default what it addresses */
  readonly each?: number | undefined;
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
export function fits(
  taken: Taken,
  { whole = Number.POSITIVE_INFINITY, each = WASM_BYTES }: Room,
): boolean {
  return sumOf(taken) <= whole && Math.max(...taken.wasm) <= each;
}

/** What work takes too much of. A clause without its subject, as in "would take ... allows 4.00 GB". */
export function excess(taken: Taken, room: Room): string {
  const most = Math.max(...taken.wasm);
  const { each = WASM_BYTES } = room;
  if (most > each) {
    return `would take ${bytesText(most)} in a WebAssembly memory, which holds ${bytesText(each)}`;
  }
  return `would take ${bytesText(sumOf(taken))} of memory, and ${room.has}`;
}

/**
 * Counts what some work with models takes.
 *
 * @param options whose `activations` are of the first model; others are multiplied by floats
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
    for (const [i, model] of models.entries()) {
      const { activations } = options;
      const own = { ...options, activations: i === 0 ? activations : undefined };
      counted.push(await CountedModel.open(model, own));
    }
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
  /** Such caches. @default 1 */
  readonly caches?: number | undefined;
  /** How that holds keys and values. @default "float" */
  readonly kvCache?: KvCache | undefined;
}

/** Of a memory that is one of several: what is taken and freed while blocks are loaded leaves gaps. */
const SHARE = 15 / 16;

/** How a model lies in WebAssembly memories. */
interface Placement {
  /** The first block of each memory but the first; undefined where a part of the model has no room in one. */
  readonly starts?: readonly number[] | undefined;
  /** Bytes in all that the memories beside the first take for what each has of its own. */
  readonly extra: number;
  /** Most bytes that one memory needs at least. */
  readonly least: number;
}

/**
 * Looks whether there is room for a model whose weights are all in memory, in one or in several.
 *
 * @returns the first block of each memory but the first
 * @throws PenjingError where there is none, before anything is loaded
 */
export async function placeBlocks(
  model: StoredModel,
  backend: Backend,
  { maxMemory, cacheTokens = 0, caches = 1, kvCache, ...options }: FitOptions,
): Promise<readonly number[]> {
  // A GPU has a memory of its own.
  if (backend.name !== "wasm") return [];
  let placement: Placement = { starts: [], extra: 0, least: 0 };
  const wasm = await count([model], options, async ([counted]) => {
    const asked = { ...options, cacheTokens, caches, kvCache, most: backend.mostBytes };
    placement = placementOf(counted, asked);
  });
  if (!wasm) return [];
  const room = await roomOf(maxMemory);
  const { starts, extra, least } = placement;
  // Of one of several less than all is filled, and a part that is beyond that is beyond what there is.
  const each = Math.floor(SHARE * (backend.mostBytes ?? WASM_BYTES));
  if (!starts) return refuse(model, { wasm: [least] }, { ...room, each });
  const memories = starts.length + 1;
  const parts = Array<number>(memories).fill((wasm[0] + extra) / memories);
  if (!fits({ wasm: parts }, room)) return refuse(model, { wasm: parts }, room);
  return starts;
}

interface PlacementOptions extends Pick<CountedModelOptions, "maxTokens"> {
  readonly cacheTokens: number;
  readonly caches: number;
  readonly kvCache: KvCache | undefined;
  /** Bytes of one memory. @default what WebAssembly addresses */
  readonly most?: number | undefined;
}

function placementOf(
  counted: CountedModel,
  { maxTokens, cacheTokens, caches, kvCache, most = WASM_BYTES }: PlacementOptions,
): Placement {
  const { decoder, spec, backend, blockBytes, outerBytes: outer } = counted;
  const made = Array.from({ length: cacheTokens > 0 ? caches : 0 }, () =>
    decoder.cache(cacheTokens, kvCache),
  );
  const cached = spec.blocks.map((_, layer) =>
    made.reduce((sum, cache) => sum + cache.bytesOf(layer), 0),
  );
  const running = counted.during(() => {
    const logits = backend.zeros([caches, spec.vocabSize]);
    const tokens = new Int32Array(Math.min(maxTokens, cacheTokens || maxTokens));
    decoder.logits(tokens, backend.rows(logits, 0, 1), made.at(0));
  });
  if (counted.peak <= most) return { starts: [], extra: 0, least: counted.peak };
  const blocks = blockBytes.map(({ held, peak }, layer) => ({ held: held + cached[layer], peak }));
  const starts = shareOut(blocks, { outer, running, most: SHARE * most });
  const least = running + Math.max(outer, ...blocks.map(({ held, peak }) => Math.max(held, peak)));
  return { starts, extra: running * (starts?.length ?? 0), least };
}

function refuse(model: StoredModel, taken: Taken, room: Room): never {
  const isBeyondAll = Math.max(...taken.wasm) > (room.each ?? WASM_BYTES);
  const where = isBeyondAll ? "give `backend: webgpu` where there is a GPU" : "allow more";
  throw new PenjingError(
    model.checkpoint.folder.path,
    `the model ${excess(taken, room)}; make it smaller with penjing compress, choose a smaller one, or ${where}.`,
  );
}
