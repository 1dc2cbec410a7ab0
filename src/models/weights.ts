import type { Backend, HalfFormat } from "../backend.js";
import { toFloat32 } from "../checkpoint/dtype.js";
import { PenjingError } from "../errors.js";
import type { TensorEntry } from "../layout.js";
import { type StoredDType, sizeOf, type Tensor } from "../tensor.js";
import { readWeight, type StoredModel } from "./stored.js";

/** Puts values stored as `entry.dtype` on a backend as f32; bf16 and f16 are widened there. */
export function uploadFloats(
  backend: Backend,
  entry: TensorEntry,
  bytes: Uint8Array,
  shape: readonly number[] = entry.shape,
): Tensor {
  if (entry.dtype !== "BF16" && entry.dtype !== "F16") {
    return backend.upload(toFloat32(entry, bytes), shape);
  }
  const bits = backend.upload(
    new Uint16Array(bytes.buffer, bytes.byteOffset, sizeOf(shape)),
    shape,
  );
  const tensor = backend.zeros(shape);
  backend.ops.widen(bits, tensor, entry.dtype.toLowerCase() as HalfFormat);
  bits.dispose();
  return tensor;
}

/** The bytes of an f32 tensor rounded to `dtype`, to nearest, ties to even. */
export async function downloadFloats(
  backend: Backend,
  tensor: Tensor,
  dtype: StoredDType,
): Promise<Uint8Array> {
  if (dtype === "F32") return new Uint8Array(((await backend.read(tensor)) as Float32Array).buffer);
  if (dtype === "F64") {
    return new Uint8Array(Float64Array.from((await backend.read(tensor)) as Float32Array).buffer);
  }
  const bits = backend.zeros(tensor.shape, "u16");
  backend.ops.narrow(tensor, bits, dtype.toLowerCase() as HalfFormat);
  const rounded = (await backend.read(bits)) as Uint16Array;
  bits.dispose();
  return new Uint8Array(rounded.buffer);
}

/**
 * Loads one parameter as f32.
 *
 * @throws PenjingError when it holds NaN or infinity
 */
export async function loadTensor(
  model: StoredModel,
  backend: Backend,
  name: string,
): Promise<Tensor> {
  const tensor = uploadFloats(backend, model.weights.get(name)!, await readWeight(model, name));
  await refuseNonFinite(backend, tensor, model.checkpoint.folder.path, name);
  return tensor;
}

/** Refuses a tensor that holds NaN or infinity, and frees it. */
export async function refuseNonFinite(
  backend: Backend,
  tensor: Tensor,
  where: string,
  name: string,
): Promise<void> {
  const bad = await backend.ops.countNonFinite(tensor);
  if (bad === 0) return;
  tensor.dispose();
  throw nonFinite(where, name, bad);
}

/** The error of a checkpoint's tensor that holds `bad` values that are NaN or infinite. */
export function nonFinite(where: string, name: string, bad: number): PenjingError {
  return new PenjingError(
    where,
    `the tensor ${name} holds ${bad} values that are NaN or infinite; the checkpoint is damaged, fetch it again.`,
  );
}

/** What loading makes and an error must free again. */
interface Disposable {
  dispose(): void;
}

/** Runs `load`; when it fails, what it had given to `own` by then is freed. */
export async function allOrNothing<T>(
  load: (own: <Made extends Disposable>(made: Made) => Made) => Promise<T>,
): Promise<T> {
  const owned: Disposable[] = [];
  try {
    return await load((made) => {
      owned.push(made);
      return made;
    });
  } catch (error) {
    for (const made of owned) made.dispose();
    throw error;
  }
}
