import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import { inputRotation, OUTPUT_ROTATION } from "../extras.js";
import { blockTensor } from "../model.js";
import { loadTensor } from "../models/weights.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";
import { paced, rangesOf, rowsWithin, type Tools } from "./ranges.js";

/** Largest deviation from the identity that a product of rotations may have. */
const TOLERANCE = 1e-3;

function damaged({ model }: Tools, message: string): PenjingError {
  return new PenjingError(
    model.checkpoint.folder.path,
    `${message}; the checkpoint is damaged, compress it again.`,
  );
}

/** Rows of a square product [n, n]. */
function rowsOfSquare(n: number, signal: AbortSignal | undefined) {
  return paced(rangesOf(n, rowsWithin(n * n)), signal);
}

/** Largest difference between rows of a square matrix, from row `first` on, and the identity. */
async function deviation(backend: Backend, rows: Tensor, first: number): Promise<number> {
  const data = (await backend.read(rows)) as Float32Array;
  const n = colsOf(rows);
  let largest = 0;
  for (let i = 0; i < data.length; i++) {
    const expected = i % n === first + Math.floor(i / n) ? 1 : 0;
    // NaN stays.
    largest = Math.max(largest, Math.abs(data[i] - expected));
  }
  return largest;
}

/**
 * The coordinates of the residual stream, block by block: in block l it is x Q_l, Q_l the product of
 * the rotations stored so far.
 */
export class Coordinates {
  /** Q_l [hidden, hidden]; undefined before the first rotation. */
  private current: Tensor | undefined;

  constructor(private readonly tools: Tools) {}

  get q(): Tensor | undefined {
    return this.current;
  }

  /**
   * Takes the turn before a block.
   *
   * @throws PenjingError when the coordinates are not orthogonal, or the block's norms have gains,
   *   which turned coordinates do not pass through
   */
  async enter(layer: number): Promise<void> {
    const { tools } = this;
    const name = inputRotation(layer);
    if (tools.model.weights.has(name)) {
      await this.turn(name);
      await this.refuseSkew(name);
    }
    if (!this.current) return;
    const { spec } = tools.model;
    for (const { before } of spec.blocks[layer].branches) {
      if (before) await refuseGains(tools, blockTensor(spec, layer, `${before.name}.weight`));
    }
  }

  /**
   * Takes the turn after the last block.
   *
   * @throws PenjingError unless it leads back to the coordinates of the embedding
   */
  async leave(): Promise<void> {
    const { tools } = this;
    if (tools.model.weights.has(OUTPUT_ROTATION)) await this.turn(OUTPUT_ROTATION);
    if (!this.current) return;
    const rows = rowsOf(this.current);
    for await (const { first, count } of rowsOfSquare(rows, tools.signal)) {
      const part = tools.backend.rows(this.current, first, count);
      const off = await deviation(tools.backend, part, first);
      if (off <= TOLERANCE) continue;
      throw damaged(
        tools,
        `its rotations do not undo one another: their product is off the identity by ${off.toPrecision(2)}, must be within ${TOLERANCE}`,
      );
    }
  }

  /** Q = Q T. */
  private async turn(name: string): Promise<void> {
    const { model, backend, signal } = this.tools;
    const turn = await loadTensor(model, backend, name, signal);
    if (!this.current) {
      this.current = turn;
      return;
    }
    const product = backend.zeros(turn.shape);
    try {
      const n = rowsOf(turn);
      for await (const { first, count } of rowsOfSquare(n, signal)) {
        const part = backend.rows(this.current, first, count);
        backend.ops.gemm(part, turn, backend.rows(product, first, count));
      }
    } catch (error) {
      product.dispose();
      throw error;
    } finally {
      turn.dispose();
    }
    this.current.dispose();
    this.current = product;
  }

  /** Refuses a Q with Q Qᵀ other than the identity: Qᵀ would not undo it. */
  private async refuseSkew(name: string): Promise<void> {
    const { backend, signal } = this.tools;
    const q = this.current!;
    const n = rowsOf(q);
    for await (const { first, count } of rowsOfSquare(n, signal)) {
      const product = backend.zeros([count, n]);
      try {
        backend.ops.gemm(backend.rows(q, first, count), q, product, { transposeB: true });
        const off = await deviation(backend, product, first);
        if (off <= TOLERANCE) continue;
        throw damaged(
          this.tools,
          `its rotations up to ${name} are off an orthogonal matrix by ${off.toPrecision(2)}, must be within ${TOLERANCE}`,
        );
      } finally {
        product.dispose();
      }
    }
  }

  dispose(): void {
    this.current?.dispose();
    this.current = undefined;
  }
}

/** Refuses a norm whose gains are not all 1. */
async function refuseGains(tools: Tools, name: string): Promise<void> {
  const gains = await loadTensor(tools.model, tools.backend, name, tools.signal);
  try {
    const data = (await tools.backend.read(gains)) as Float32Array;
    const gain = data.find((value) => value !== 1);
    if (gain === undefined) return;
    throw damaged(tools, `the tensor ${name} holds ${gain}, must hold 1 alone in a rotated block`);
  } finally {
    gains.dispose();
  }
}
