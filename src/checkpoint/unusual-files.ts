/** Folders without model.safetensors and without an index: what is found in them, or what they are. */

import { PenjingError } from "../errors.js";
import type { Folder } from "../platform/files.js";
import { quote } from "../quote.js";
import { isForeign, isPickle, PICKLE_CURE } from "./foreign.js";
import { isJsonObject, MAX_CONFIG_DEPTH, own, parseJson } from "./json.js";
import { listNames } from "./safetensors-writer.js";
import { completeSet, INDEX_NAME, shardSets, WEIGHTS_NAME } from "./weight-files.js";

/** Longest adapter_config.json that is looked at, in bytes. */
const MAX_ADAPTER_BYTES = 1_000_000;

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
      `the folder has neither ${WEIGHTS_NAME} nor ${INDEX_NAME} (${what}); ${cure}.`,
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
