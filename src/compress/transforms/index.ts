import type { TransformKind } from "../transform.js";
import { type PRUNE_OPTIONS, prune } from "./prune.js";
import { type ROTATE_OPTIONS, rotate } from "./rotate.js";

/** Descriptions of the options of each kind of step. */
export interface StepSpecs {
  readonly rotate: typeof ROTATE_OPTIONS;
  readonly prune: typeof PRUNE_OPTIONS;
}

/** Every kind of step by name. */
export const transforms = { rotate, prune } satisfies {
  readonly [Name in keyof StepSpecs]: TransformKind & { readonly options: StepSpecs[Name] };
};
