import type { Backend } from "../backend.js";
import { DTYPE_BYTES, toFloat32 } from "../checkpoint/dtype.js";
import { DeviceError, PenjingError } from "../errors.js";
import type { FinishedTensor } from "../layout.js";
import { Random } from "../random.js";
import { pacer } from "../run.js";
import type { Sparsity } from "../sparsity.js";
import { sizeOf, type Tensor } from "../tensor.js";

/** Values that are looked at together. */
const PIECE = 2 ** 20;
/** How far a device's sum may be from the exact one, as a share of the sum of its terms' sizes. */
const TOLERANCE = 1e-4;

export interface MadeLayer {
  readonly name: string;
  /** What is to be kept of it. */
  readonly stored: readonly FinishedTensor[];
  /** [outFeatures * inFeatures], 1 = kept. */
  readonly mask: Uint8Array;
  readonly sparsity: Sparsity;
  /** Its weight as it is kept, where that is one dense tensor. */
  readonly dense: FinishedTensor | undefined;
}

/** The error of a result that cannot be right: of a GPU, which may lie, or else of the numbers. */
function wrong({ name }: Backend, layer: string, what: string): PenjingError {
  if (name === "webgpu") return new DeviceError(`${layer}: ${what}; use \`backend: wasm\`.`);
  return new PenjingError(
    layer,
    `${what}; leave the layer out with \`ignore\`, or take another method or damping.`,
  );
}

/**
 * Holds a layer against what every result keeps to, on the bytes that are to be kept: its values are
 * finite, its mask keeps N of every M where that is asked for, and what the mask removes is 0.
 *
 * @throws DeviceError where a GPU made it, else PenjingError; the signal's reason when it was aborted
 */
export async function checkLayer(
  backend: Backend,
  made: MadeLayer,
  signal?: AbortSignal,
): Promise<void> {
  const rest = pacer(signal);
  const { name, stored, mask, sparsity, dense } = made;
  for (const tensor of stored.filter(({ dtype }) => dtype !== "U8")) {
    let bad = 0;
    for (const values of piecesOf(tensor)) {
      await rest();
      for (const value of values) if (!Number.isFinite(value)) bad++;
    }
    if (bad > 0) {
      const kind = `NaN or infinite in ${tensor.dtype}`;
      throw wrong(backend, name, `${bad} values of ${tensor.name} came out ${kind}`);
    }
  }
  if (sparsity.kind === "n:m") {
    const { n, m } = sparsity;
    for (let at = 0; at < mask.length; at += m) {
      if (at % (PIECE * m) === 0) await rest();
      let kept = 0;
      for (let i = at; i < at + m; i++) kept += mask[i];
      if (kept > n) throw wrong(backend, name, `its mask keeps ${kept} of ${m} weights, not ${n}`);
    }
  }
  if (!dense) return;
  let at = 0;
  for (const values of piecesOf(dense)) {
    await rest();
    for (const value of values) {
      if (value !== 0 && mask[at] === 0) {
        throw wrong(backend, name, "a weight that its mask removes is not 0");
      }
      at++;
    }
  }
}

/**
 * Holds a GPU's product of one random row with the weight against the sums in float64.
 *
 * @param weight [outFeatures, inFeatures], what `dense` was uploaded as
 * @throws DeviceError when they differ by more than rounding
 */
export async function checkProduct(
  backend: Backend,
  name: string,
  dense: FinishedTensor,
  weight: Tensor,
): Promise<void> {
  if (backend.name !== "webgpu") return;
  const [rows, cols] = dense.shape;
  const random = new Random(cols);
  const x = Float32Array.from({ length: cols }, () => random.next() - 0.5);
  const [input, out] = [backend.upload(x, [1, cols]), backend.zeros([1, rows])];
  try {
    backend.ops.multiply(input, weight, out);
    const found = (await backend.read(out)) as Float32Array;
    let at = 0;
    let [sum, size] = [0, 0];
    for (const values of piecesOf(dense)) {
      for (const value of values) {
        const term = value * x[at % cols];
        sum += term;
        size += Math.abs(term);
        if (++at % cols > 0) continue;
        const row = at / cols - 1;
        // NaN is not within anything.
        if (!(Math.abs(found[row] - sum) <= TOLERANCE * size)) {
          throw wrong(backend, name, `the GPU's product with it is ${found[row]}, must be ${sum}`);
        }
        [sum, size] = [0, 0];
      }
    }
  } finally {
    input.dispose();
    out.dispose();
  }
}

/** The values of a tensor, some at a time. */
function* piecesOf({ name, dtype, shape, bytes }: FinishedTensor): Generator<Float32Array> {
  const width = DTYPE_BYTES[dtype];
  const all = sizeOf(shape);
  for (let first = 0; first < all; first += PIECE) {
    const count = Math.min(PIECE, all - first);
    const part = bytes.slice(first * width, (first + count) * width);
    yield toFloat32({ name, dtype }, part);
  }
}
