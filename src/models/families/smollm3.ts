import type { ConfigReader } from "../../config-reader.js";
import { PenjingError } from "../../errors.js";
import type { ModelFamily } from "../../model.js";
import { layerTypes, noWindows, readDecoder } from "./parts/llama-config.js";
import { readRope } from "./parts/rope-config.js";

const KEYS = ["no_rope_layers", "no_rope_layer_interval"];

/** SmolLM3: Llama, of which some layers do not rotate by positions (NoPE). */
export const smollm3: ModelFamily = {
  modelType: "smollm3",
  summary: "SmolLM3, with layers that positions do not rotate",
  read(config) {
    const attention = config.flag("attention_bias", false);
    return readDecoder(config, "smollm3", {
      windows: (layers) => slidingLayers(config, layers),
      ropes(layers, headDim) {
        const rope = readRope(config, { headDim, theta: 2e6, known: KEYS });
        return ropedLayers(config, layers).map((isRoped) => (isRoped ? rope : undefined));
      },
      biases: { qkv: attention, o: attention, mlp: config.flag("mlp_bias", false) },
      qkNorm: false,
      tied: true,
    });
  },
};

/** Whether positions rotate, layer by layer. */
function ropedLayers(config: ConfigReader, layers: number): boolean[] {
  const interval = config.count("no_rope_layer_interval", 4);
  if (!config.has("no_rope_layers")) {
    return Array.from({ length: layers }, (_, layer) => (layer + 1) % interval !== 0);
  }
  const given = [config.raw("no_rope_layers")].flat().slice(0, layers);
  if (given.length === layers && given.every((one) => one === 0 || one === 1)) {
    return given.map((one) => one === 1);
  }
  throw new PenjingError(
    config.where,
    `"no_rope_layers" must be a list of 1 (rotated) or 0 for each of the ${layers} layers; take config.json from the model's own folder.`,
  );
}

/** With `use_sliding_window`, the layers without rope see `sliding_window` positions. */
function slidingLayers(config: ConfigReader, layers: number): (number | undefined)[] {
  if (!config.flag("use_sliding_window", false) || !config.has("sliding_window")) {
    return noWindows(layers);
  }
  const window = config.count("sliding_window");
  const types = layerTypes(config, layers);
  return ropedLayers(config, layers).map((isRoped, layer) => {
    const slides = types ? types[layer] === "sliding_attention" : !isRoped;
    return slides ? window : undefined;
  });
}
