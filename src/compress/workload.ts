import type { Workload } from "../backends/auto.js";
import { blockTensor, type DecoderSpec, LINEAR_NAMES, linearShapes } from "../model.js";

/** What `auto` looks at of a run before it chooses a backend. */
export function workload(spec: DecoderSpec): Workload {
  const sizes = Object.values(linearShapes(spec)).map(([rows, cols]) => rows * cols);
  return { largestWeight: Math.max(...sizes) };
}

/** Name and shape of every linear that can be pruned. */
export function prunableLayers(spec: DecoderSpec): Map<string, readonly number[]> {
  const shapes = linearShapes(spec);
  const layers = new Map<string, readonly number[]>();
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const name of LINEAR_NAMES) layers.set(blockTensor(layer, name), shapes[name]);
  }
  return layers;
}
