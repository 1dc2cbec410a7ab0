import { ConfigReader } from "../../config-reader.js";
import { PenjingError } from "../../errors.js";
import type { DecoderSpec, ModelFamily } from "../../model.js";
import { missingPlugin, plugInOf } from "../../plugin-id.js";
import { quote } from "../../quote.js";
import { gemma3_text } from "./gemma3_text.js";
import { gpt_neox } from "./gpt_neox.js";
import { gpt2 } from "./gpt2.js";
import { granite } from "./granite.js";
import { granitemoehybrid } from "./granitemoehybrid.js";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { olmo2 } from "./olmo2.js";
import { opt } from "./opt.js";
import { phi3 } from "./phi3.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";
import { smollm3 } from "./smollm3.js";

/** Every model family by the `model_type` of its config.json. */
export const families: Readonly<Record<string, ModelFamily>> = {
  gemma3_text,
  gpt2,
  gpt_neox,
  granite,
  granitemoehybrid,
  llama,
  mistral,
  olmo2,
  opt,
  phi3,
  qwen2,
  qwen3,
  smollm3,
};

/** Keys whose presence says that the feed-forward is a mixture of experts; 0 and 1 say that it is not. */
const EXPERT_KEYS = ["num_experts", "num_local_experts", "n_routed_experts"];

/** What is known of a checkpoint when its config.json is read. */
export interface ConfigContext {
  /** Families by `model_type`. @default those built in */
  readonly known?: Readonly<Record<string, ModelFamily>> | undefined;
  /** What penjing.json says of the plug-ins that it was made with. */
  readonly plugins?: unknown;
  /** Tensors that its files hold: it has no more layers. @default not known */
  readonly tensors?: number | undefined;
}

/**
 * Reads a parsed config.json.
 *
 * @param where path of the file, for messages
 * @throws PenjingError for a family that is not supported, a mixture of experts, a quantized
 *   checkpoint, or a field that is missing or wrong
 */
export function readModelConfig(
  where: string,
  parsed: unknown,
  { known = families, plugins, tensors }: ConfigContext = {},
): DecoderSpec {
  const config = new ConfigReader(where, parsed, tensors);
  const type = modelTypeOf(parsed, known, where);
  const supported = Object.keys(known).join(", ");
  const experts = EXPERT_KEYS.find(
    (key) => config.has(key) && ![0, 1].includes(config.raw(key) as number),
  );
  if (experts || type.endsWith("moe") || type === "mixtral") {
    throw new PenjingError(
      where,
      `model_type ${quote(type)} is a mixture of experts, which is not supported; choose a dense model of ${supported}.`,
    );
  }
  const family = Object.hasOwn(known, type) ? known[type] : undefined;
  const plugin = plugInOf(plugins, "families", type);
  if (!family && plugin) {
    throw new PenjingError(where, `it is of the family ${type}, ${missingPlugin(plugin)}.`);
  }
  if (!family) {
    const inner = config.has("text_config") ? ", a model of text and more," : "";
    throw new PenjingError(
      where,
      `model_type ${quote(type)}${inner} is not supported; choose a model of ${supported}.`,
    );
  }
  if (config.has("quantization_config")) {
    const method = config.nested("quantization_config")!.raw("quant_method");
    throw new PenjingError(
      where,
      `the checkpoint is quantized (its quantization_config has the quant_method ${quote(method)}), and of these only gptq, awq and compressed-tensors with integer weights are read; take the original checkpoint instead.`,
    );
  }
  return family.read(config);
}

/**
 * `model_type` of a parsed config.json, or the family that `architectures` names where it is missing, as
 * "LlamaForCausalLM" does.
 *
 * @returns "" when neither says it
 */
export function modelTypeOf(
  parsed: unknown,
  known: Readonly<Record<string, ModelFamily>>,
  where = "config.json",
): string {
  const config = new ConfigReader(where, parsed);
  const type = config.text("model_type", "");
  if (type !== "") return type;
  const [name, ...others] = [config.raw("architectures")].flat();
  if (typeof name !== "string" || others.length > 0) return "";
  const classOf = (family: string) => `${family.replaceAll("_", "")}forcausallm`;
  return Object.keys(known).find((family) => classOf(family) === name.toLowerCase()) ?? "";
}
