/** Models as their headers tell them, for whoever counts bytes and work and needs no number. */
import type { CheckpointTensor } from "../checkpoint/checkpoint.js";
import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import { byteLengthOf } from "../checkpoint/safetensors-writer.js";
import { leavesOf } from "../form.js";
import { SHAPE_PART, shapeBytes } from "../forms/packed-grid.js";
import type { TensorEntry } from "../layout.js";
import { twoFour } from "../layouts/two-four.js";
import { indexBytes } from "../pack.js";
import type { StoredModel } from "./stored.js";

export interface WithoutNumbersOptions {
  /**
   * Whether weights that are surely 2:4 are packed so, as models that run hold them, and do not lie as they
   * are.
   *
   * @default false
   */
  readonly staysPacked?: boolean | undefined;
}

/** The same model, whose weights hold zeros; and 2:4 weights, where they stay packed, two in each group. */
export function withoutNumbers(
  model: StoredModel,
  { staysPacked = false }: WithoutNumbersOptions = {},
): StoredModel {
  const { checkpoint, weights } = model;
  const isPacked = staysPacked && model.layout.holds === "2:4";
  const told = toldShapes(model);
  const laid = new Map<string, CheckpointTensor>();
  for (const name of model.packed) {
    const entry = weights.get(name)!;
    const parts = isPacked ? twoFour.entries(entry) : [entry];
    for (const part of parts) {
      laid.set(part.name, { ...part, byteLength: byteLengthOf(part), byteOffset: 0, file: "" });
    }
    if (isPacked) told.set(parts[1].name, () => firstTwo(entry));
  }
  const tensors = new Map([...checkpoint.tensors, ...laid]);
  const zeros = async (bytes: number) => new Uint8Array(bytes);
  const sizeOfTensor = (name: string) => tensors.get(name)!.byteLength;
  return {
    ...model,
    packed: isPacked ? model.packed : new Set(),
    layout: isPacked ? twoFour : model.layout,
    checkpoint: {
      ...checkpoint,
      tensors,
      read: async (name) => told.get(name)?.() ?? zeros(sizeOfTensor(name)),
      readRange: (_name, _start, length) => zeros(length),
      readRun: (names) => zeros(names.reduce((sum, name) => sum + sizeOfTensor(name), 0)),
      readFloat32: async (name) => {
        const { dtype, byteLength } = tensors.get(name)!;
        return new Float32Array(byteLength / DTYPE_BYTES[dtype]);
      },
    },
  };
}

/** The codes of a packed weight of which the first two of each group are kept. */
function firstTwo({ shape: [rows, cols] }: TensorEntry): Uint8Array {
  const width = indexBytes(cols);
  const codes = new Uint8Array(rows * width).fill(0x44);
  // After an odd number of groups half a byte is left over, and 0.
  if (cols % 8 !== 0) for (let row = 1; row <= rows; row++) codes[row * width - 1] = 0x04;
  return codes;
}

/** The bytes of tensors that tell the shapes of others, by name: a header tells those too. */
function toldShapes({ forms }: StoredModel): Map<string, () => Uint8Array> {
  const told = new Map<string, () => Uint8Array>();
  for (const leaf of [...forms.values()].flatMap(leavesOf)) {
    const name = leaf.parts.get(SHAPE_PART);
    if (name !== undefined) told.set(name, () => shapeBytes(leaf.shape));
  }
  return told;
}
