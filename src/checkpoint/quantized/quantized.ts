/** Checkpoints that other programs quantized, opened as grids. */
import { ConfigReader } from "../../config-reader.js";
import { PenjingError } from "../../errors.js";
import { configText } from "../config-text.js";
import { isJsonObject, type JsonObject, MAX_CONFIG_DEPTH, own, parseJson } from "../json.js";
import type { Checkpoint } from "../opened.js";
import { readAwq } from "./awq.js";
import { readCompressedTensors } from "./compressed-tensors.js";
import { readGptq } from "./gptq.js";
import { Parts, type QuantizedWeights } from "./grid-weight.js";
import { asGrids } from "./overlay.js";
import { QUANTIZATION_KEYS, QUANTIZE_CONFIG } from "./recognise.js";
import { Schemes } from "./schemes.js";

const MAX_BYTES = 10_000_000;

/**
 * A checkpoint whose config.json has a quantization_config with its weights as grids; as it is where it has
 * none that is read here, which the reader of config.json refuses. What cannot be read is told when the
 * config is read: until then tensors can be looked at.
 */
export async function openQuantized(base: Checkpoint): Promise<Checkpoint> {
  const config = isJsonObject(base.config) ? base.config : {};
  try {
    const given = await settingsOf(base, config);
    const found = given && (await readWeights(base, given));
    if (!found) return base;
    const rest = Object.entries(config).filter(([key]) => !QUANTIZATION_KEYS.includes(key));
    const plain = Object.fromEntries(rest);
    return asGrids(base, found, { config: plain, text: await configText(base.folder, plain) });
  } catch (error) {
    if (!(error instanceof PenjingError)) throw error;
    return Object.defineProperty({ ...base }, "config", {
      get() {
        throw error;
      },
    });
  }
}

async function settingsOf(
  { folder }: Checkpoint,
  config: JsonObject,
): Promise<ConfigReader | undefined> {
  const key = QUANTIZATION_KEYS.find((one) => isJsonObject(own(config, one)));
  if (key) return new ConfigReader(`${folder.path}/config.json: ${key}`, own(config, key));
  if (!(await folder.has(QUANTIZE_CONFIG))) return undefined;
  // Of old AutoGPTQ, which names no method.
  const where = `${folder.path}/${QUANTIZE_CONFIG}`;
  const parsed = parseJson(
    await folder.readText(QUANTIZE_CONFIG, MAX_BYTES),
    where,
    MAX_CONFIG_DEPTH,
  );
  if (!isJsonObject(parsed)) return undefined;
  return new ConfigReader(where, { quant_method: "gptq", ...parsed });
}

async function readWeights(
  base: Checkpoint,
  given: ConfigReader,
): Promise<QuantizedWeights | undefined> {
  const parts = new Parts(base);
  const method = given.text("quant_method", "");
  if (method === "gptq") return readGptq(parts, given);
  if (method === "awq") return readAwq(parts, given);
  const isCompressed = method === "compressed-tensors" || method === "";
  // Without groups it tells of sparsity, which is a layout's affair.
  if (!isCompressed || !given.has("config_groups")) return undefined;
  return readCompressedTensors(parts, new Schemes(given));
}
