import { GGUF } from "../export/gguf-options.js";
import { type LayoutName, layouts } from "../layouts/index.js";
import type { OptionSpecs, OptionsOf } from "../options.js";

/** Names of layouts, and what makes a GGUF file in a folder's place. */
const LAYOUTS = [...(Object.keys(layouts) as LayoutName[]), GGUF] as const;

/** What a recipe says of the whole run, beside its steps. */
export const SETTINGS = {
  samples: {
    kind: "number",
    default: 128,
    min: 1,
    integer: true,
    unit: "windows",
    description: "calibration windows",
  },
  length: {
    kind: "number",
    default: 256,
    min: 2,
    integer: true,
    unit: "tokens",
    description: "tokens in each window",
  },
  sampling: {
    kind: "choice",
    values: ["start", "random"],
    default: "start",
    description:
      "where in the text the windows lie: one after another from its start, or at random places, which the seed draws",
  },
  statistics: {
    kind: "choice",
    values: ["sequential", "true-sequential", "dense"],
    default: "sequential",
    description:
      "whether a block's statistics come from the blocks before it as already compressed (true-sequential: and from the linears before in the block), or from the dense model",
  },
  seed: {
    kind: "number",
    default: 0,
    integer: true,
    description: "where random numbers start: those of methods, and of random windows",
  },
  layout: {
    kind: "text",
    known: LAYOUTS as readonly (LayoutName | typeof GGUF)[],
    rule: `text such as ${LAYOUTS.slice(0, 2).join(" or ")}`,
    default: "dense",
    description: `how pruned weights are stored: ${LAYOUTS.join(", ")}`,
  },
  stream: {
    kind: "choice",
    values: ["f32", "bf16"],
    default: "f32",
    description:
      "how activations are kept between blocks; bf16 rounds them once a block and takes half the memory",
  },
  layerError: {
    kind: "flag",
    default: true,
    description: "measure each layer's relative output error",
  },
} as const satisfies OptionSpecs;

/** Their values, complete. */
export type Settings = OptionsOf<typeof SETTINGS>;
