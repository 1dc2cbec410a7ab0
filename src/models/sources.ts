import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import { blockTensor, type DecoderSpec, sitesOf } from "../model.js";

/** Which part of a stored tensor a weight or bias is. */
export interface TensorSource {
  readonly name: string;
  /** Of the stored tensor. */
  readonly shape: readonly number[];
  /** First row; first column where `transposed`. */
  readonly first: number;
  readonly transposed: boolean;
}

/** The tensors of a decoder that its family says lie elsewhere, by their logical names. */
export function tensorSources(spec: DecoderSpec): Map<string, TensorSource> {
  const sources = new Map<string, TensorSource>();
  for (const [layer, block] of spec.blocks.entries()) {
    for (const { name: own, shape, bias, source } of sitesOf(block)) {
      if (!source) continue;
      const [rows, cols] = shape;
      const linear = blockTensor(spec, layer, own);
      const { name = linear, outputs, transposed = false } = source;
      const { first, of } = outputs ?? { first: 0, of: rows };
      const add = (part: string, stored: readonly number[], isTransposed: boolean) =>
        sources.set(`${linear}.${part}`, {
          name: `${name}.${part}`,
          shape: stored,
          first,
          transposed: isTransposed,
        });
      add("weight", transposed ? [cols, of] : [of, cols], transposed);
      if (bias && (name !== linear || outputs)) add("bias", [of], false);
    }
  }
  return sources;
}

/**
 * The bytes of a part of a stored tensor, row-major in its own dtype.
 *
 * @param shape of the part
 */
export async function readSource(
  checkpoint: Checkpoint,
  { name, first, transposed }: TensorSource,
  [rows, cols = 1]: readonly number[],
): Promise<Uint8Array> {
  const { dtype, shape } = checkpoint.tensors.get(name)!;
  const width = DTYPE_BYTES[dtype];
  if (!transposed) {
    const rowBytes = cols * width;
    return checkpoint.readRange(name, first * rowBytes, rows * rowBytes);
  }
  const bytes = await checkpoint.read(name);
  const part = new Uint8Array(rows * cols * width);
  // Bytes are moved one by one, so that every dtype takes the same path.
  for (let col = 0; col < cols; col++) {
    for (let row = 0; row < rows; row++) {
      const from = (col * shape[1] + first + row) * width;
      const to = (row * cols + col) * width;
      for (let i = 0; i < width; i++) part[to + i] = bytes[from + i];
    }
  }
  return part;
}
