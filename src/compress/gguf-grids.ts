/** Which grid quantized linears are put on where a GGUF file of K types is asked for. */
import { planTypes } from "../export/gguf/describe.js";
import { IN_PLACE, mostOf } from "../export/gguf/types.js";
import { askedOf } from "../export/gguf/write-gguf.js";
import type { GgufOptions } from "../export/gguf-options.js";
import type { StoredModel } from "../models/stored.js";
import type { GridOf } from "./transform.js";

/** Grids of the types that stand in the place of K types whose blocks do not fit. */
const NARROW: Readonly<Record<string, ReturnType<GridOf>>> = {
  Q5_0: { bits: 5, groupSize: 32, symmetric: true },
  Q5_1: { bits: 5, groupSize: 32, symmetric: false },
  Q8_0: { bits: 8, groupSize: 32, symmetric: true },
};

/**
 * The grid of each linear by the type that its tensor has in the file; undefined where no K types are asked
 * for, so that codes are kept as the recipe has them made.
 *
 * @throws PenjingError for a type that is not written
 */
export function gridsOf(model: StoredModel, options: GgufOptions): GridOf | undefined {
  const asked = askedOf(options);
  if (!asked.linear || !IN_PLACE[mostOf(asked.linear)]) return undefined;
  const { tensors } = planTypes(model, asked);
  return (layer) => {
    const type = tensors.find(({ source }) => source?.name === `${layer}.weight`)?.type;
    if (type === "Q4_K" || type === "Q5_K" || type === "Q6_K") return { kType: type };
    return type && NARROW[type];
  };
}
