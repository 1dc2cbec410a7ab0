import type { Workload } from "../backends/auto.js";
import { type DecoderSpec, largestWeight, modelSites } from "../model.js";
import type { LayerPlan } from "./solve.js";

/**
 * What `auto` looks at of a run before it chooses a backend. GPUs have no shaders for grids, so that a
 * run that quantizes is quicker without one, as if all weights were small.
 */
export function workload(spec: DecoderSpec, plan: readonly Pick<LayerPlan, "stores">[]): Workload {
  const quantizes = plan.some(({ stores }) => stores !== undefined);
  return { largestWeight: quantizes ? 0 : largestWeight(spec) };
}

/** Name and shape of every linear that can be pruned. */
export function prunableLayers(spec: DecoderSpec): Map<string, readonly number[]> {
  return new Map([...modelSites(spec)].map(([name, { shape }]) => [name, shape]));
}
