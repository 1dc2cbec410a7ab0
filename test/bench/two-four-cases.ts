import type { Backend, DenseMatrix, TwoFourMatrix, WeightOptions } from "../../src/backend.js";
import type { Tensor } from "../../src/tensor.js";
import { randomValues } from "./contenders.js";

/** More bytes of weights than caches hold, so that they come from memory as in a whole model. */
export const WEIGHT_BYTES = 32 * 2 ** 20;
export const FORMATS = ["f32", "f16", "bf16", "int8"] as const;
export type Format = (typeof FORMATS)[number];

/** A random 2:4 matrix [n, n]. */
function randomTwoFour(n: number): Float32Array {
  const dense = randomValues(n * n);
  for (let at = 0; at < dense.length; at += 4) {
    const first = Math.floor(Math.random() * 4);
    const second = (first + 1 + Math.floor(Math.random() * 3)) % 4;
    for (let i = 0; i < 4; i++) if (i !== first && i !== second) dense[at + i] = 0;
  }
  return dense;
}

/** Runs `use` with f32 weights in a format, which need not outlive it. */
async function inFormat<T>(
  backend: Backend,
  format: Format,
  floats: Tensor,
  use: (weights: Tensor, options: WeightOptions) => T,
): Promise<T> {
  if (format === "f32") return use(floats, {});
  if (format === "int8") {
    const bytes = Int8Array.from((await backend.read(floats)) as Float32Array, (w) => 254 * w);
    const weights = backend.upload(new Uint8Array(bytes.buffer), floats.shape);
    const scales = backend.upload(new Float32Array(floats.shape[0]).fill(1 / 254), [
      floats.shape[0],
    ]);
    const made = use(weights, { scales });
    weights.dispose();
    scales.dispose();
    return made;
  }
  const bits = backend.zeros(floats.shape, "u16");
  backend.ops.narrow(floats, bits, format);
  const made = use(bits, { format });
  bits.dispose();
  return made;
}

export interface SparseWeights {
  readonly dense: Tensor | DenseMatrix;
  readonly sparse: TwoFourMatrix;
}

/** The same random 2:4 matrix [n, n] dense and packed, as often as it takes to fill `least` bytes. */
export async function sparseWeights(
  backend: Backend,
  n: number,
  format: Format,
  least: number,
): Promise<SparseWeights[]> {
  const floats = randomTwoFour(n);
  const whole = backend.upload(floats, [n, n]);
  const values = backend.zeros([n, n / 2]);
  const indices = backend.zeros([n, n / 8], "u8");
  await backend.ops.packTwoFour(whole, values, indices);
  const { prepareLinear, prepareTwoFour } = backend.ops;
  const made: SparseWeights[] = [];
  let bytes = 0;
  while (bytes < least) {
    const dense =
      format === "f32"
        ? backend.upload(floats, [n, n])
        : await inFormat(backend, format, whole, (weight, options) =>
            prepareLinear(weight, options),
          );
    const sparse = await inFormat(backend, format, values, (kept, options) =>
      prepareTwoFour(kept, indices, n, options),
    );
    made.push({ dense, sparse });
    bytes += 2 * sparse.bytes;
  }
  return made;
}
