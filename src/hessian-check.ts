import type { Backend } from "./backend.js";
import { DeviceError, gpuGaveNonFinite } from "./errors.js";
import { Random } from "./random.js";
import type { Work } from "./steps.js";
import { colsOf, rowsOf, type Tensor } from "./tensor.js";

/** How far a GPU's sum may be from the same sum found in another way, as a share of its size. */
const TOLERANCE = 1e-3;

/**
 * Holds the Hessian that a GPU gathers against sums along one random direction r: r H rᵀ must be
 * (2 / sequences) |X rᵀ|². Other kernels of the GPU add up |X rᵀ|² batch by batch, and the CPU
 * computes that of the first batch from its bytes.
 */
export class HessianCheck {
  private readonly values: Float32Array;
  /** r [1, inFeatures] */
  private readonly direction: Tensor;
  /** [1], |X rᵀ|² of the batches so far. */
  private readonly squares: Tensor;
  /** |X rᵀ|² of the first batch, by the CPU and by the GPU. */
  private first?: { readonly expected: number; readonly found: number };

  constructor(
    private readonly backend: Backend,
    inFeatures: number,
  ) {
    const random = new Random(inFeatures);
    this.values = Float32Array.from({ length: inFeatures }, () => random.next() - 0.5);
    this.direction = backend.upload(this.values, [1, inFeatures]);
    this.squares = backend.zeros([1]);
  }

  /**
   * The steps of adding a batch.
   *
   * @param batch [tokens, inFeatures]
   */
  *add(batch: Tensor): Work {
    const { backend, direction, squares } = this;
    const along = backend.zeros([1, rowsOf(batch)]);
    // The batch as the matrix of a product with one row: its numbers are read once.
    backend.ops.multiply(direction, batch, along);
    backend.ops.accumulateColumnSquares(backend.rows(along, 0, rowsOf(batch), 1), squares);
    along.dispose();
    if (!this.first) yield this.look(batch);
  }

  /** Adds up the first batch on the CPU, from its bytes. */
  private async look(batch: Tensor): Promise<void> {
    const { backend, values } = this;
    const [found] = (await backend.read(this.squares)) as Float32Array;
    const x = (await backend.read(batch)) as Float32Array;
    let expected = 0;
    for (let at = 0; at < x.length; at += values.length) {
      let sum = 0;
      for (let i = 0; i < values.length; i++) sum += x[at + i] * values[i];
      expected += sum * sum;
    }
    this.first = { expected, found };
  }

  /**
   * @param name the layer, for the message
   * @param hessian [inFeatures, inFeatures], both triangles
   * @throws DeviceError where the sums differ by more than rounding
   */
  async finish(name: string, hessian: Tensor, sequences: number): Promise<void> {
    const { backend, values, first } = this;
    if (!first) return;
    const { expected, found } = first;
    if (!Number.isFinite(expected)) throw gpuGaveNonFinite(`inputs of ${name}`);
    // Not "differs by more": NaN must not pass.
    if (!(Math.abs(found - expected) <= TOLERANCE * expected)) {
      throw wrong(name, `squares of its inputs sum to ${found}, must be ${expected}`);
    }
    const product = backend.zeros([1, colsOf(hessian)]);
    const diagonal = backend.zeros([colsOf(hessian)]);
    try {
      backend.ops.multiply(this.direction, hessian, product);
      backend.ops.diagonal(hessian, diagonal);
      const [squares] = (await backend.read(this.squares)) as Float32Array;
      const row = (await backend.read(product)) as Float32Array;
      const own = (await backend.read(diagonal)) as Float32Array;
      let sum = 0;
      // What the sum would be of inputs that have nothing to do with each other.
      let size = 0;
      for (let i = 0; i < values.length; i++) {
        sum += values[i] * row[i];
        size += values[i] * values[i] * own[i];
      }
      const must = (2 / sequences) * squares;
      if (!(Math.abs(sum - must) <= TOLERANCE * (size + must))) {
        throw wrong(name, `Hessian gives ${sum} along a random direction, must give ${must}`);
      }
    } finally {
      product.dispose();
      diagonal.dispose();
    }
  }

  dispose(): void {
    this.direction.dispose();
    this.squares.dispose();
  }
}

function wrong(name: string, what: string): DeviceError {
  return new DeviceError(`${name}: the GPU's ${what}; use \`backend: wasm\`.`);
}
