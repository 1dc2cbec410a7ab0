/** Finds the files of a folder that hold a model's weights. */
import { PenjingError } from "../errors.js";
import type { Folder } from "../platform/files.js";
import { GGUF_CURE, isForeign, isGguf, isPickle, PICKLE_CURE } from "./foreign.js";
import { isJsonObject, MAX_CONFIG_DEPTH, own, parseJson, quote } from "./json.js";
import { listNames } from "./safetensors-writer.js";

/** The weights of a model in one file, and the list of shards of one in several. */
export const WEIGHTS_NAME = "model.safetensors";
export const INDEX_NAME = "model.safetensors.index.json";
/** Longest index accepted, in bytes: the same as a safetensors header. */
export const MAX_INDEX_BYTES = 100_000_000;
/** Most shards accepted; published models have fewer than 1,000. */
export const MAX_SHARDS = 10_000;
/** An index is an object that holds objects. */
const MAX_INDEX_DEPTH = 8;
/** Longest adapter_config.json that is looked at, in bytes. */
const MAX_ADAPTER_BYTES = 1_000_000;

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
interface ShardSet {
  readonly stem: string;
  readonly count: number;
  /** By their numbers, from 1. */
  readonly names: ReadonlyMap<number, string>;
}

function shardSets(names: readonly string[]): ShardSet[] {
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

/** Weight files that were found without an index, and what is to be said of it. */
export interface FoundFiles {
  readonly shards: readonly string[];
  readonly notes: readonly string[];
}

/**
 * The files of a folder that has neither model.safetensors nor an index: a complete set of shards, or
 * the only .safetensors file.
 *
 * @throws PenjingError naming what the folder is instead, and the cure
 */
export async function findWeightFiles(
  folder: Folder,
  names: readonly string[],
): Promise<FoundFiles> {
  const isAdapter = names.includes("adapter_config.json");
  const set = isAdapter ? undefined : completeSet(names);
  if (set) {
    const what = set.length === 1 ? `the weights are ${set[0]}` : `${set.length} shards are read`;
    return { shards: set, notes: [`there is no ${INDEX_NAME}; ${what}`] };
  }
  const own = names.filter((name) => /^[^/]+\.safetensors$/.test(name));
  const [only, second] = own;
  const isPart = shardSets(own).length > 0;
  if (
    only !== undefined &&
    second === undefined &&
    !isPart &&
    !isAdapter &&
    !/^adapter_/.test(only)
  ) {
    return { shards: [only], notes: [`there is no ${WEIGHTS_NAME}; the weights are ${only}`] };
  }
  throw await noWeights(folder, names, own);
}

async function noWeights(
  folder: Folder,
  names: readonly string[],
  own: readonly string[],
): Promise<PenjingError> {
  const { path } = folder;
  const links = await folder.links?.();
  const broken = [...(links ?? [])].filter(([, { leads }]) => leads === "nowhere");
  const brokenWeights = broken.find(([name]) => /\.safetensors(\.index\.json)?$/.test(name));
  if (brokenWeights) {
    const [name, { target }] = brokenWeights;
    return new PenjingError(
      path,
      `${quote(name)} is a symbolic link to ${quote(target)}, where nothing is; download the model again or mend the link.`,
    );
  }
  const adapter = names.find((name) =>
    /^adapter_(config\.json|model\.(safetensors|bin))$/.test(name),
  );
  if (adapter) {
    const base = await adapterBase(folder, names);
    return new PenjingError(
      path,
      `it holds a LoRA adapter and not a whole model; merge it into its base model${base} (with peft: merge_and_unload, then save_pretrained) and give the merged folder.`,
    );
  }
  const fail = (what: string, cure: string) =>
    new PenjingError(
      path,
      `the folder has neither ${WEIGHTS_NAME} nor ${INDEX_NAME}: ${what}; ${cure}.`,
    );
  const [set] = shardSets(own);
  if (set && own.length === set.names.size) {
    const numbers = Array.from({ length: set.count }, (_, i) => i + 1);
    const missing = numbers.filter((number) => !set.names.has(number));
    const wide = /-(\d+)-of-(\d+)/.exec([...set.names.values()][0])!;
    const called = missing.map((number) => {
      return `${set.stem}-${String(number).padStart(wide[1].length, "0")}-of-${wide[2]}.safetensors`;
    });
    return fail(
      `${called.length} of ${set.count} shards are missing`,
      `download ${listNames(called)}`,
    );
  }
  if (own.length > 0) return fail(`it holds ${listNames(own)}`, "give the path of the one to read");
  const below = names.find((name) =>
    /\/(model[^/]*\.safetensors|[^/]+\.safetensors\.index\.json)$/.test(name),
  );
  if (below) {
    const inner = `${path}/${below.slice(0, below.indexOf("/"))}`;
    return fail("the weights are one folder below", `give ${quote(inner)}`);
  }
  const foreign = names.filter(isForeign);
  if (foreign.some(isGguf)) return fail(`it holds ${listNames(foreign)}`, GGUF_CURE);
  if (foreign.some(isPickle)) return fail(`it holds ${listNames(foreign)}`, PICKLE_CURE);
  if (foreign.length > 0)
    return fail(`it holds ${listNames(foreign)}`, "convert it to safetensors");
  const found = names.length > 0 ? `it holds ${listNames(names)}` : "it is empty";
  return fail(found, "give the folder that a model was downloaded or saved to");
}

/** The base model that an adapter names, as a part of a sentence. */
async function adapterBase(folder: Folder, names: readonly string[]): Promise<string> {
  if (!names.includes("adapter_config.json")) return "";
  try {
    const text = await folder.readText("adapter_config.json", MAX_ADAPTER_BYTES);
    const config = parseJson(text, "adapter_config.json", MAX_CONFIG_DEPTH);
    const base = isJsonObject(config) ? own(config, "base_model_name_or_path") : undefined;
    return typeof base === "string" ? ` ${quote(base)}` : "";
  } catch {
    // The sentence is as good without the name.
    return "";
  }
}
