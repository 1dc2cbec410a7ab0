import type { Backend, HalfFormat } from "../backend.js";
import { DTYPE_BYTES, toFloat32 } from "../checkpoint/dtype.js";
import { PenjingError } from "../errors.js";
import type { FloatName } from "../form.js";
import type { TensorEntry } from "../layout.js";
import { pacer } from "../run.js";
import { aligned, type StoredDType, sizeOf, type Tensor } from "../tensor.js";
import { inPieces, type Piece, readPieces, type StoredModel } from "./stored.js";

/** Bytes of a parameter that are put on a backend at a time. */
const LOADED_BYTES = 2 ** 25;

/** Puts values stored as `entry.dtype` on a backend as f32; bf16 and f16 are widened there. */
export function uploadFloats(
  backend: Backend,
  entry: TensorEntry,
  bytes: Uint8Array,
  shape: readonly number[] = entry.shape,
): Tensor {
  if (!isHalf(entry)) return backend.upload(toFloat32(entry, bytes), shape);
  const tensor = backend.zeros(shape);
  writeFloats(backend, entry, bytes, tensor);
  return tensor;
}

/** Writes as many values into an f32 tensor. */
function writeFloats(
  backend: Backend,
  entry: TensorEntry,
  bytes: Uint8Array,
  tensor: Tensor,
): void {
  if (!isHalf(entry)) {
    backend.write(tensor, toFloat32(entry, bytes));
    return;
  }
  const bits = uploadHalves(backend, bytes, tensor.shape);
  backend.ops.widen(bits, tensor, entry.dtype.toLowerCase() as HalfFormat);
  bits.dispose();
}

/** Puts values stored in 16 bits on a backend as they are, u16. */
export function uploadHalves(
  backend: Backend,
  bytes: Uint8Array,
  shape: readonly number[],
): Tensor {
  const { buffer, byteOffset } = aligned(bytes, 2);
  return backend.upload(new Uint16Array(buffer, byteOffset, sizeOf(shape)), shape);
}

function isHalf({ dtype }: TensorEntry): boolean {
  return dtype === "BF16" || dtype === "F16";
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

/** A parameter of a stored model, some bytes at a time. */
export interface Parameter {
  readonly entry: TensorEntry;
  /** As often as it is called, from the first to the last. */
  readonly pieces: () => AsyncIterable<Piece> | Iterable<Piece>;
  /** The model's folder, for messages. */
  readonly where: string;
  readonly signal: AbortSignal | undefined;
}

/** @param unpacked its bytes where they are at hand. @default read from the checkpoint */
export function parameterOf(
  model: StoredModel,
  entry: TensorEntry,
  signal: AbortSignal | undefined,
  unpacked?: Uint8Array,
): Parameter {
  const pieces = () =>
    unpacked ? inPieces(unpacked, LOADED_BYTES) : readPieces(model, entry.name, LOADED_BYTES);
  return { entry, pieces, where: model.checkpoint.folder.path, signal };
}

/**
 * Loads one parameter as f32.
 *
 * @throws PenjingError when it holds NaN or infinity; the signal's reason when it was aborted
 */
export function loadTensor(
  model: StoredModel,
  backend: Backend,
  name: string,
  signal?: AbortSignal,
): Promise<Tensor> {
  return loadFloats(backend, parameterOf(model, model.weights.get(name)!, signal));
}

function loadFloats(backend: Backend, parameter: Parameter): Promise<Tensor> {
  const { entry, pieces, signal } = parameter;
  return allOrNothing(async (own) => {
    const tensor = own(backend.zeros(entry.shape));
    const width = DTYPE_BYTES[entry.dtype];
    const rest = pacer(signal);
    let bad = 0;
    for await (const { start, bytes } of pieces()) {
      const part = backend.rows(tensor, start / width, bytes.length / width, 1);
      writeFloats(backend, entry, bytes, part);
      bad += await backend.ops.countNonFinite(part);
      await rest();
    }
    refuseNonFinite(parameter, bad);
    return tensor;
  });
}

/** Numbers on a backend to multiply by, and what they are: f32, or u16 holding f16 or bf16. */
export interface Factors {
  readonly tensor: Tensor;
  readonly dtype: FloatName;
}

/**
 * Loads a linear's weight, or the values of one, to multiply by: in 16 bits as stored where the backend
 * reads them; bf16 as f16 where it reads that alone and no value changes by more than 2^-25; else f32.
 * bf16 has less precision than f16 but a wider range: values beyond it stay f32.
 *
 * @throws PenjingError when it holds NaN or infinity; the signal's reason when it was aborted
 */
export async function loadFactors(backend: Backend, parameter: Parameter): Promise<Factors> {
  const half = isHalf(parameter.entry) ? await loadHalves(backend, parameter) : undefined;
  return half ?? { tensor: await loadFloats(backend, parameter), dtype: "f32" };
}

/** Loads 16-bit values in 16 bits; undefined where the backend reads none that hold all of them. */
async function loadHalves(backend: Backend, parameter: Parameter): Promise<Factors | undefined> {
  const { entry, pieces, signal } = parameter;
  const stored = entry.dtype.toLowerCase() as HalfFormat;
  const dtype = backend.halfFormats.includes(stored) ? stored : backend.halfFormats[0];
  if (!dtype) return undefined;
  return allOrNothing(async (own) => {
    const tensor = own(backend.zeros(entry.shape, "u16"));
    const rest = pacer(signal);
    let [bad, overflown] = [0, 0];
    for await (const { start, bytes } of pieces()) {
      const size = bytes.length / 2;
      const half = backend.rows(tensor, start / 2, size, 1);
      const floats = backend.zeros(half.shape);
      try {
        writeFloats(backend, entry, bytes, floats);
        bad += await backend.ops.countNonFinite(floats);
        backend.ops.narrow(floats, half, dtype);
        if (dtype !== stored) {
          backend.ops.widen(half, floats, dtype);
          overflown += await backend.ops.countNonFinite(floats);
        }
      } finally {
        floats.dispose();
      }
      await rest();
    }
    refuseNonFinite(parameter, bad);
    if (overflown === 0) return { tensor, dtype };
    tensor.dispose();
    return undefined;
  });
}

function refuseNonFinite({ where, entry }: Parameter, bad: number): void {
  if (bad > 0) throw nonFinite(where, entry.name, bad);
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
