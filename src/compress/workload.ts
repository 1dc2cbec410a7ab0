import type { Workload } from "../backends/auto.js";
import { type DecoderSpec, largestWeight, modelSites } from "../model.js";

/** What `auto` looks at of a run before it chooses a backend. */
export function workload(spec: DecoderSpec): Workload {
  return { largestWeight: largestWeight(spec) };
}

/** Name and shape of every linear that can be pruned. */
export function prunableLayers(spec: DecoderSpec): Map<string, readonly number[]> {
  return new Map([...modelSites(spec)].map(([name, { shape }]) => [name, shape]));
}
