import type { Backend } from "../../backend.js";
import type { DecoderSpec, LayerSpec } from "../../model.js";
import { AttentionRunner } from "./attention.js";
import { GatedMlpRunner } from "./gated-mlp.js";
import type { LayerRunner, Room } from "./layer.js";

/** What runs each kind of layer that a decoder may have. */
export type LayerRunners = Readonly<Record<LayerSpec["kind"], LayerRunner>>;

/** Makes the scratch for all layers of a decoder. */
export function openLayers(backend: Backend, { blocks }: DecoderSpec, room: Room): LayerRunners {
  const layers = blocks.flatMap(({ branches }) => branches.map(({ layer }) => layer));
  const attentions = layers.filter((layer) => layer.kind === "attention");
  const gatedMlps = layers.filter((layer) => layer.kind === "gated-mlp");
  return {
    attention: new AttentionRunner(backend, attentions, room),
    "gated-mlp": new GatedMlpRunner(backend, gatedMlps, room),
  };
}
