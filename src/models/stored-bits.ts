/** How many bits a model's weights take as they are stored, by what the headers of its files say. */
import { storedBytes } from "../checkpoint/checkpoint.js";
import { type Form, leavesOf } from "../form.js";
import { SHAPE_PART } from "../forms/packed-grid.js";
import { decoderTensors, modelSites } from "../model.js";
import { sizeOf } from "../tensor.js";
import type { StoredModel } from "./stored.js";

/**
 * Bytes of what a form is stored as. The shape that a leaf on a grid tells beside its codes does not
 * count: it stands for what a file's header tells of other weights.
 *
 * @param bytesOf bytes of a tensor, by its name
 */
export function formBytes(form: Form<string>, bytesOf: (tensor: string) => number): number {
  const parts = leavesOf(form).flatMap((leaf) => [...leaf.parts]);
  const names = parts.filter(([part]) => part !== SHAPE_PART).map(([, name]) => name);
  return [...new Set(names)].reduce((sum, name) => sum + bytesOf(name), 0);
}

export interface StoredBits {
  /**
   * Of each weight of the blocks' linears that are compressed: packed, on a grid, in factors, or of a
   * quantized type. Absent where none is.
   */
  readonly compressed?: number | undefined;
  /** Of each of all parameters, with all that is stored. */
  readonly whole: number;
}

/** The dtypes of GGUF files, or of cast ones, that are as they would be in safetensors. */
const PLAIN: readonly string[] = ["F64", "F32", "F16", "BF16"];

/** Bytes of a weight as it is stored; undefined where that is a plain tensor of floats. */
function compressedBytes(model: StoredModel, name: string): number | undefined {
  const { checkpoint, forms, layout, packed, sources, weights } = model;
  const bytesOf = (tensor: string) => storedBytes([checkpoint.tensors.get(tensor)!]);
  const whole = (weight: string): number => {
    if (!packed.has(weight)) return bytesOf(weight);
    const parts = layout.entries(weights.get(weight)!);
    return parts.reduce((sum, part) => sum + bytesOf(part.name), 0);
  };
  const form = forms.get(name);
  if (form) return formBytes(form, whole);
  if (packed.has(name)) return whole(name);
  const source = sources.get(name);
  const { stored } = checkpoint.tensors.get(source?.name ?? name)!;
  if (!stored || PLAIN.includes(stored.type)) return undefined;
  const share = source ? sizeOf(weights.get(name)!.shape) / sizeOf(source.shape) : 1;
  return share * stored.byteLength;
}

/** Bits per weight of a model as it is stored. */
export function storedBits(model: StoredModel): StoredBits {
  let [bytes, weights] = [0, 0];
  for (const [name, { shape }] of modelSites(model.spec)) {
    const own = compressedBytes(model, `${name}.weight`);
    if (own === undefined) continue;
    bytes += own;
    weights += sizeOf(shape);
  }
  let parameters = 0;
  for (const shape of decoderTensors(model.spec).values()) parameters += sizeOf(shape);
  const whole = (8 * storedBytes(model.checkpoint.tensors.values())) / parameters;
  return { ...(weights > 0 && { compressed: (8 * bytes) / weights }), whole };
}
