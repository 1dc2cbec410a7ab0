/** Weights as plain checkpoints of their family store them, which transpose some. */
import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import type { FinishedTensor, TensorEntry } from "../layout.js";
import { inPieces, type Piece, readPieces, readWeight, type StoredModel } from "./stored.js";

/** A weight, or what becomes of one, as a plain checkpoint of its family stores it. */
export function asStored({ places }: StoredModel, tensor: FinishedTensor): FinishedTensor {
  const place = places.get(tensor.name);
  if (!place?.transposed) return tensor;
  const { dtype, shape, bytes } = tensor;
  const turned = transposeBytes(bytes, shape, DTYPE_BYTES[dtype]);
  return { ...tensor, shape: place.shape, bytes: turned };
}

/** What a plain checkpoint has in a weight's place. */
export function storedEntry({ places }: StoredModel, entry: TensorEntry): TensorEntry {
  return { ...entry, shape: places.get(entry.name)?.shape ?? entry.shape };
}

/** The bytes of that piece by piece; a weight that is packed is unpacked. */
export async function* storedPieces(
  model: StoredModel,
  name: string,
): AsyncGenerator<Piece, void, void> {
  const { packed, places } = model;
  if (!packed.has(name) || !places.has(name)) {
    yield* readPieces({ ...model, sources: new Map() }, name);
    return;
  }
  yield* inPieces(await storedBytesOf(model, name));
}

/** All of those bytes of a weight that is packed. */
export async function storedBytesOf(model: StoredModel, name: string): Promise<Uint8Array> {
  const bytes = await readWeight(model, name);
  return asStored(model, { ...model.weights.get(name)!, bytes }).bytes;
}

/** The bytes of a matrix [rows, cols] of elements of `width` bytes as those of [cols, rows]. */
function transposeBytes(
  bytes: Uint8Array,
  [rows, cols]: readonly number[],
  width: number,
): Uint8Array {
  const turned = new Uint8Array(bytes.length);
  for (let row = 0, from = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const to = (col * rows + row) * width;
      for (let i = 0; i < width; i++) turned[to + i] = bytes[from++];
    }
  }
  return turned;
}
