/** The files of a folder that hold a model's weights: one, or shards with an index or by their names. */

import { PenjingError } from "../errors.js";
import type { Folder } from "../platform/files.js";
import { quote } from "../quote.js";
import { isJsonObject, own, parseJson } from "./json.js";

/** The weights of a model in one file, and the list of shards of one in several. */
export const WEIGHTS_NAME = "model.safetensors";
export const INDEX_NAME = "model.safetensors.index.json";
/** Longest index accepted, in bytes: the same as a safetensors header. */
export const MAX_INDEX_BYTES = 100_000_000;
/** Most shards accepted; published models have fewer than 1,000. */
export const MAX_SHARDS = 10_000;
/** An index is an object that holds objects. */
const MAX_INDEX_DEPTH = 8;

/** The shard of every tensor, as the index claims. */
export async function readIndex(folder: Folder): Promise<Map<string, string>> {
  const where = `${folder.path}/${INDEX_NAME}`;
  const text = await folder.readText(INDEX_NAME, MAX_INDEX_BYTES);
  const index = parseJson(text, where, MAX_INDEX_DEPTH);
  const map = isJsonObject(index) ? own(index, "weight_map") : undefined;
  if (!isJsonObject(map)) {
    throw new PenjingError(where, "it has no weight_map object; fetch the index again.");
  }
  const shardOf = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(map)) {
    if (typeof shard !== "string") {
      throw new PenjingError(
        where,
        `the shard of ${quote(tensor)} must be a file name, found ${quote(shard)}.`,
      );
    }
    if (!/^[^/\\:\0]+\.safetensors$/.test(shard)) {
      throw new PenjingError(
        where,
        `the shard of ${quote(tensor)} is ${quote(shard)}; a shard is a .safetensors file in the same folder, without path separators.`,
      );
    }
    shardOf.set(tensor, shard);
  }
  if (shardOf.size === 0) throw new PenjingError(where, "its weight_map lists no tensor.");
  const { size } = new Set(shardOf.values());
  if (size > MAX_SHARDS) {
    throw new PenjingError(where, `it lists ${size} shards; at most ${MAX_SHARDS} are read.`);
  }
  return shardOf;
}

/** Shards whose names say which of how many each is. */
export interface ShardSet {
  readonly stem: string;
  readonly count: number;
  /** By their numbers, from 1. */
  readonly names: ReadonlyMap<number, string>;
}

/** The sets of shards among names, complete or not. */
export function shardSets(names: readonly string[]): ShardSet[] {
  const sets = new Map<string, ShardSet & { names: Map<number, string> }>();
  for (const name of names) {
    const [, stem, number, count] = /^([^/]+)-(\d+)-of-(\d+)\.safetensors$/.exec(name) ?? [];
    if (stem === undefined || Number(count) > MAX_SHARDS) continue;
    const key = `${stem} ${Number(count)}`;
    const set = sets.get(key) ?? { stem, count: Number(count), names: new Map() };
    set.names.set(Number(number), name);
    sets.set(key, set);
  }
  return [...sets.values()];
}

/** The names of a complete set of shards, in order; undefined when there is none, or more than one. */
export function completeSet(names: readonly string[]): string[] | undefined {
  const complete = shardSets(names).flatMap((set) => {
    const found = Array.from({ length: set.count }, (_, i) => set.names.get(i + 1));
    return found.length > 0 && found.every((name) => name !== undefined) ? [found as string[]] : [];
  });
  return complete.length === 1 ? complete[0] : undefined;
}
