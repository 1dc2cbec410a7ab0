/** How quantized checkpoints of other programs are known. */
import { isJsonObject, own } from "../json.js";

/** Keys of config.json that tell how weights are quantized; the second is that of old compressed-tensors. */
export const QUANTIZATION_KEYS: readonly string[] = ["quantization_config", "compression_config"];

/** Where old AutoGPTQ tells it. */
export const QUANTIZE_CONFIG = "quantize_config.json";

/** Whether a model may be quantized by another program. */
export function isQuantized(config: unknown, names: readonly string[]): boolean {
  if (names.includes(QUANTIZE_CONFIG)) return true;
  return isJsonObject(config) && QUANTIZATION_KEYS.some((key) => isJsonObject(own(config, key)));
}
