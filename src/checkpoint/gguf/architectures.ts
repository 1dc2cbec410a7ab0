/** Model families by the names that llama.cpp has for them: their tensors and their config.json. */
import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import type { Architecture, Config, Contents } from "./architectures/fields.js";
import { gemma3 } from "./architectures/gemma3.js";
import { gpt2 } from "./architectures/gpt2.js";
import { gptneox } from "./architectures/gptneox.js";
import { granite } from "./architectures/granite.js";
import { llama, qwen2, qwen3 } from "./architectures/llama.js";
import { olmo2 } from "./architectures/olmo2.js";
import { phi3 } from "./architectures/phi3.js";
import { smollm3 } from "./architectures/smollm3.js";
import type { Change } from "./change.js";
import type { Keys } from "./keys.js";
import { ROPE_FREQS } from "./rope.js";

/** Every family by `general.architecture`. */
export const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  gemma3,
  gpt2,
  gptneox,
  granite,
  llama,
  olmo2,
  phi3,
  qwen2,
  qwen3,
  smollm3,
};

/** The key that names the family. */
export const ARCHITECTURE_KEY = "general.architecture";

/** Keys that change nothing in what is computed, where nothing else is made of them. */
const IDLE =
  /^(expert_.*|tensor_data_layout|attention\.layer_norm_epsilon|rope\.scaling\.(finetuned|original_context_length|factor|yarn_.*))$/;

/** The family of a file; undefined where it is not known here. */
export function architectureOf(keys: Keys): Architecture | undefined {
  const name = keys.text(ARCHITECTURE_KEY) ?? "";
  return Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined;
}

/** What is said of a family that is not known here. */
export function unknownArchitecture(keys: Keys): PenjingError {
  const name = keys.text(ARCHITECTURE_KEY);
  const known = Object.keys(ARCHITECTURES).join(", ");
  const what =
    name === undefined
      ? `it has no key ${quote(ARCHITECTURE_KEY)}, which names the model's family`
      : `it holds a model of the architecture ${quote(name)}, which is not supported as GGUF`;
  return new PenjingError(keys.name, `${what}; choose one of ${known}.`);
}

/**
 * config.json but for the ids of tokens and the dtype.
 *
 * @throws PenjingError for a family that is not known, and for a key of it that is not understood
 */
export function configOf(keys: Keys, contents: Contents): Config {
  const architecture = architectureOf(keys);
  if (!architecture) throw unknownArchitecture(keys);
  const arch = keys.text(ARCHITECTURE_KEY)!;
  const causal = `${arch}.attention.causal`;
  if (!keys.flag(causal, true)) keys.fail(causal, "true: only models that write text are read");
  const config = architecture.config(keys, arch, contents);
  const odd = keys
    .unread(`${arch}.`)
    .find((key) => !IDLE.test(key.slice(arch.length + 1)) && !keys.isOff(key));
  if (odd === undefined) return config;
  throw new PenjingError(
    keys.name,
    `its key ${quote(odd)} (${keys.tell(odd)}) is not understood here, so this model would be run wrong and is refused; take the model's safetensors.`,
  );
}

/**
 * What a family is written as, and its name there.
 *
 * @param where the model, for messages
 * @param cure what to do where llama.cpp has nothing for it
 * @throws PenjingError for a family that llama.cpp has no architecture for
 */
export function architectureFor(
  family: string,
  where: string,
  cure: string,
): { readonly arch: string; readonly architecture: Architecture } {
  const found = Object.entries(ARCHITECTURES).find(([, one]) => one.families.includes(family));
  if (found) return { arch: found[0], architecture: found[1] };
  const known = Object.values(ARCHITECTURES).flatMap(({ families }) => families);
  throw new PenjingError(
    where,
    `it is a model of the family ${family}, for which there is no GGUF architecture here; families that can be written are ${known.sort().join(", ")}: ${cure}.`,
  );
}

/**
 * ggml's names of what a tensor of a block is: one, or several whose rows it has one after another.
 *
 * @param part its name within the block, ".weight" and ".bias" aside
 * @returns none for a tensor that is not known
 */
export function ggmlNames(architecture: Architecture, part: string): readonly string[] {
  const { blockNames, alsoNamed = {} } = architecture;
  if (Object.hasOwn(alsoNamed, part)) return alsoNamed[part];
  return Object.keys(blockNames).filter((name) => blockNames[name] === part);
}

/** The parts of a tensor's name in ggml, as in "blk.0.attn_q.weight"; undefined for another name. */
function partsOf(name: string) {
  const [, block, part, ending] =
    /^(?:blk\.(\d+)\.)?([a-z0-9_]+)(\.(?:weight|bias))$/.exec(name) ?? [];
  return part === undefined ? undefined : { block, part, ending };
}

/**
 * A tensor's name in transformers; its own where it has none there.
 *
 * @param name as in "blk.0.attn_q.weight"
 */
export function plainName(architecture: Architecture | undefined, name: string): string {
  const parts = partsOf(name);
  if (!architecture || !parts) return name;
  const { block, part, ending } = parts;
  const { outerNames, blockNames, blocks = "model.layers." } = architecture;
  const names = block === undefined ? outerNames : blockNames;
  if (!Object.hasOwn(names, part)) return name;
  const before = block === undefined ? "" : `${blocks}${block}.`;
  return `${before}${names[part]}${ending}`;
}

/** What llama.cpp's converter changes in a tensor; undefined where nothing. */
export function changeOf(
  architecture: Architecture | undefined,
  keys: Keys,
  name: string,
): Change | undefined {
  const parts = partsOf(name);
  if (!architecture?.changes || !parts) return undefined;
  const changes = architecture.changes(keys, keys.text(ARCHITECTURE_KEY)!);
  return Object.hasOwn(changes, parts.part) ? changes[parts.part] : undefined;
}

/** Whether config.json tells of a tensor, which is then none of the model's. */
export function isFactors(architecture: Architecture | undefined, name: string): boolean {
  return (architecture?.factors ?? [ROPE_FREQS]).includes(name) && architecture !== undefined;
}
