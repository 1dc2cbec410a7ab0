import type { Leaf } from "../../form.js";
import { codesInPlace, isTwoFourInteger, withAllPlaces } from "../../forms/two-four-integer.js";
import type { HostTensor, Tensor, TensorData } from "../../tensor.js";
import type { Claim } from "../forms.js";
import { integer } from "./integer.js";

/** 2:4 codes that activations of int8 are multiplied by: as the dense ones that they stand for. */
export const twoFourInteger: Claim = (form, options) => {
  if (options.activations !== "int8" || !isTwoFourInteger(form)) return undefined;
  const parts = new Map<string, TensorData>();
  for (const [name, part] of form.parts) parts.set(name, (part as HostTensor).data);
  const codes = {
    ...(form.parts.get("values") as HostTensor),
    ...{ shape: form.shape, data: codesInPlace(form, parts) },
  } as HostTensor;
  const dense: Leaf = {
    ...withAllPlaces(form),
    parts: new Map<string, Tensor>([
      ["values", codes],
      ["scales", form.parts.get("scales")!],
    ]),
  };
  return integer(dense, options);
};
