import type { LinearOptions, Operations } from "../../backend.js";
import { colsOf, type Tensor } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

/** out = x times a block-diagonal matrix, plus bias. */
export function blockDiagonal(
  stream: Stream,
  x: Tensor,
  blocks: Tensor,
  out: Tensor,
  { bias }: LinearOptions = {},
): void {
  stream.dispatch({
    shader: "block-diagonal",
    operands: [x, blocks, bias, out] as GpuTensor[],
    parameters: [colsOf(x), colsOf(blocks), x.size, Number(bias !== undefined)],
    groups: gridOf(x.size, 256),
  });
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    blockDiagonal: (x, blocks, out, options) => blockDiagonal(stream, x, blocks, out, options),
  };
}
