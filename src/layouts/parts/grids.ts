/** Tensors of quantized weights in layouts that store them in another way than forms/packed-grid.ts. */
import type { Leaf } from "../../form.js";
import type { CodesExchange, StoredPart, TensorEntry } from "../../layout.js";

/**
 * What the tensors of a weight become.
 *
 * @param leaf the weight's grid, with the names of its tensors
 */
export function gridTensors(
  { part }: CodesExchange,
  weightName: string,
  leaf: Leaf<string>,
): (tensor: TensorEntry) => StoredPart {
  const names = new Map([...leaf.parts].map(([name, tensor]) => [tensor, name]));
  return (tensor) => part!(leaf, weightName, names.get(tensor.name)!, tensor);
}
