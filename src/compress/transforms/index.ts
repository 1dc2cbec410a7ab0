import type { Registry } from "../../registry.js";
import { openCompressRegistry } from "../registry.js";
import type { TransformKind } from "../transform.js";
import { type PruneSpecs, pruneKind } from "./prune.js";
import { type QuantizeSpecs, quantizeKind } from "./quantize.js";
import { type ROTATE_OPTIONS, rotate } from "./rotate.js";
import { type SCALE_OPTIONS, scale } from "./scale.js";

/** Descriptions of the options of each kind of step. */
export interface StepSpecs {
  readonly rotate: typeof ROTATE_OPTIONS;
  readonly scale: typeof SCALE_OPTIONS;
  readonly prune: PruneSpecs;
  readonly quantize: QuantizeSpecs;
}

/** Every kind of step by name, with the methods that a call knows. */
export function transformsOf(registry: Registry) {
  return { rotate, scale, prune: pruneKind(registry), quantize: quantizeKind(registry) } satisfies {
    readonly [Name in keyof StepSpecs]: TransformKind & { readonly options: StepSpecs[Name] };
  };
}

/** Those without plug-ins. */
export const transforms = transformsOf(openCompressRegistry());
