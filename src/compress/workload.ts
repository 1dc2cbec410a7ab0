import type { OperationName } from "../backend.js";
import type { Workload } from "../backends/auto.js";
import { blockTensor, type DecoderSpec, LINEAR_NAMES, linearShapes } from "../model.js";
import type { LayerPlan, Recipe } from "../recipe.js";

/** What a search for rotations does most of the time. */
const ROTATION_OPERATIONS: readonly OperationName[] = ["entropyRows", "removedRows", "adam"];

/** What `auto` looks at of a run before it chooses a backend. */
export function workload(
  spec: DecoderSpec,
  plan: ReadonlyMap<string, LayerPlan>,
  recipe: Recipe,
): Workload {
  const sizes = Object.values(linearShapes(spec)).map(([rows, cols]) => rows * cols);
  const methods = new Set([...plan.values()].map(({ method }) => method));
  const operations = [...methods].flatMap((method) => method.operations ?? []);
  if (recipe.rotate) operations.push(...ROTATION_OPERATIONS);
  return { largestWeight: Math.max(...sizes), operations };
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
