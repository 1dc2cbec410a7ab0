import type { ConfigReader } from "../../config-reader.js";
import { PenjingError } from "../../errors.js";
import type { ModelFamily } from "../../model.js";
import { graniteScales } from "./parts/granite-scales.js";
import { noWindows, readDecoder } from "./parts/llama-config.js";
import { readRope } from "./parts/rope-config.js";

/** Names of layers that are attention. */
const ATTENTION: readonly unknown[] = ["attention", "full_attention"];

/** The small dense models of Granite 4: Granite 3 with gate and up from one linear; no Mamba, no experts. */
export const granitemoehybrid: ModelFamily = {
  modelType: "granitemoehybrid",
  summary: "Granite 4 without Mamba layers and experts",
  read(given) {
    refuseHybrid(given);
    const attention = given.flag("attention_bias", false);
    const config = given.with({ intermediate_size: given.count("shared_intermediate_size", 1024) });
    const isRoped = given.text("position_embedding_type", "") === "rope";
    return readDecoder(config, "granitemoehybrid", {
      windows: noWindows,
      ropes(layers, headDim) {
        const rope = isRoped ? readRope(config, { headDim }) : undefined;
        return Array.from({ length: layers }, () => rope);
      },
      biases: { qkv: attention, o: attention, mlp: false },
      qkNorm: false,
      fusedMlp: true,
      mlp: { prefix: "shared_mlp", names: { gateUp: "input_linear", down: "output_linear" } },
      ...graniteScales(config),
    });
  },
};

/** Refuses Mamba layers, and experts, which there are unless their number is given as 0. */
function refuseHybrid(config: ConfigReader): void {
  const types = [config.raw("layer_types") ?? config.raw("layers_block_type")].flat();
  const isAttention = types.every((type) => ATTENTION.includes(type));
  if (isAttention && config.raw("num_local_experts") === 0) return;
  throw new PenjingError(
    config.where,
    "it has Mamba layers or experts, which are not supported; of Granite 4 only models whose layers are all attention, without experts, can be run.",
  );
}
