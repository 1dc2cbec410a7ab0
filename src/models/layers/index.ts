import type { LayerSpec } from "../../model.js";
import { attentionKind } from "./attention.js";
import { gatedMlpKind } from "./gated-mlp.js";
import type { LayerKind } from "./layer.js";
import { mlpKind } from "./mlp.js";

/** Every kind of layer by its name. */
export const layerKinds: Readonly<Record<LayerSpec["kind"], LayerKind>> = {
  attention: attentionKind as LayerKind,
  "gated-mlp": gatedMlpKind as LayerKind,
  mlp: mlpKind as LayerKind,
};
