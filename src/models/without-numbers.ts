/** Models as their headers tell them, for whoever counts bytes and work and needs no number. */
import type { CheckpointTensor } from "../checkpoint/checkpoint.js";
import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import { byteLengthOf } from "../checkpoint/safetensors-writer.js";
import { leavesOf } from "../form.js";
import { SHAPE_PART, shapeBytes } from "../forms/packed-grid.js";
import type { StoredModel } from "./stored.js";

export interface WithoutNumbersOptions {
  /** Whether weights that are packed stay so, and do not lie as they are. @default false */
  readonly staysPacked?: boolean | undefined;
}

/** The same model, whose weights hold zeros. */
export function withoutNumbers(
  model: StoredModel,
  { staysPacked = false }: WithoutNumbersOptions = {},
): StoredModel {
  const { checkpoint, weights } = model;
  const packed = staysPacked ? new Set<string>() : model.packed;
  const shapes = toldShapes(model);
  const laid = [...packed].map((name): [string, CheckpointTensor] => {
    const entry = weights.get(name)!;
    return [name, { ...entry, byteLength: byteLengthOf(entry), byteOffset: 0, file: "" }];
  });
  const tensors = new Map([...checkpoint.tensors, ...laid]);
  const zeros = async (bytes: number) => new Uint8Array(bytes);
  const sizeOfTensor = (name: string) => tensors.get(name)!.byteLength;
  return {
    ...model,
    packed: staysPacked ? model.packed : new Set(),
    checkpoint: {
      ...checkpoint,
      tensors,
      read: async (name) => shapes.get(name) ?? zeros(sizeOfTensor(name)),
      readRange: (_name, _start, length) => zeros(length),
      readRun: (names) => zeros(names.reduce((sum, name) => sum + sizeOfTensor(name), 0)),
      readFloat32: async (name) => {
        const { dtype, byteLength } = tensors.get(name)!;
        return new Float32Array(byteLength / DTYPE_BYTES[dtype]);
      },
    },
  };
}

/** The bytes of tensors that tell the shapes of others, by name: a header tells those too. */
function toldShapes({ forms }: StoredModel): Map<string, Uint8Array> {
  const told = new Map<string, Uint8Array>();
  for (const leaf of [...forms.values()].flatMap(leavesOf)) {
    const name = leaf.parts.get(SHAPE_PART);
    if (name !== undefined) told.set(name, shapeBytes(leaf.shape));
  }
  return told;
}
