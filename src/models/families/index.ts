import { ConfigReader } from "../../config-reader.js";
import { PenjingError } from "../../errors.js";
import type { DecoderSpec, ModelFamily } from "../../model.js";
import { missingPlugin, plugInOf } from "../../plugin-id.js";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";

/** Every model family by the `model_type` of its config.json. */
export const families: Readonly<Record<string, ModelFamily>> = { llama, mistral, qwen2, qwen3 };

/** Keys whose presence says that the feed-forward is a mixture of experts. */
const EXPERT_KEYS = ["num_experts", "num_local_experts", "n_routed_experts"];

/**
 * Reads a parsed config.json.
 *
 * @param where path of the file, for messages
 * @param known families by `model_type`. @default those built in
 * @param plugins what penjing.json says of the plug-ins that it was made with
 * @throws PenjingError for a family that is not supported, a mixture of experts, a quantized
 *   checkpoint, or a field that is missing or wrong
 */
export function readModelConfig(
  where: string,
  parsed: unknown,
  known: Readonly<Record<string, ModelFamily>> = families,
  plugins?: unknown,
): DecoderSpec {
  const config = new ConfigReader(where, parsed);
  const type = config.text("model_type", "");
  const supported = Object.keys(known).join(", ");
  const experts = EXPERT_KEYS.find((key) => config.has(key) && config.raw(key) !== 1);
  if (experts || type.endsWith("moe") || type === "mixtral") {
    throw new PenjingError(
      where,
      `model_type "${type}" is a mixture of experts, which is not supported; choose a dense model of ${supported}.`,
    );
  }
  const family = Object.hasOwn(known, type) ? known[type] : undefined;
  const plugin = plugInOf(plugins, "families", type);
  if (!family && plugin) {
    throw new PenjingError(where, `it is of the family ${type}, ${missingPlugin(plugin)}.`);
  }
  if (!family) {
    throw new PenjingError(
      where,
      `model_type "${type}" is not supported; choose a model of ${supported}.`,
    );
  }
  if (config.has("quantization_config")) {
    throw new PenjingError(
      where,
      "the checkpoint is quantized (it has a quantization_config); compress the original checkpoint instead.",
    );
  }
  return family.read(config);
}
