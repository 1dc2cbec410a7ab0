/** Models as their headers tell them, for whoever counts bytes and work and needs no number. */
import type { CheckpointTensor } from "../checkpoint/checkpoint.js";
import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import { byteLengthOf } from "../checkpoint/safetensors-writer.js";
import type { StoredModel } from "./stored.js";

/** The same model, whose weights hold zeros and lie as they are, not packed. */
export function withoutNumbers(model: StoredModel): StoredModel {
  const { checkpoint, weights, packed } = model;
  const laid = [...packed].map((name): [string, CheckpointTensor] => {
    const entry = weights.get(name)!;
    return [name, { ...entry, byteLength: byteLengthOf(entry), byteOffset: 0, file: "" }];
  });
  const tensors = new Map([...checkpoint.tensors, ...laid]);
  const zeros = async (bytes: number) => new Uint8Array(bytes);
  const sizeOfTensor = (name: string) => tensors.get(name)!.byteLength;
  return {
    ...model,
    packed: new Set(),
    checkpoint: {
      ...checkpoint,
      tensors,
      read: (name) => zeros(sizeOfTensor(name)),
      readRange: (_name, _start, length) => zeros(length),
      readRun: (names) => zeros(names.reduce((sum, name) => sum + sizeOfTensor(name), 0)),
      readFloat32: async (name) => {
        const { dtype, byteLength } = tensors.get(name)!;
        return new Float32Array(byteLength / DTYPE_BYTES[dtype]);
      },
    },
  };
}
