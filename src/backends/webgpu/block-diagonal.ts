import type { Operations } from "../../backend.js";
import { isBlocks } from "../../forms/blocks.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Claim } from "../forms.js";
import type { GpuTensor } from "./buffers.js";
import { rowsFrom } from "./gemm.js";
import { gridOf, type Stream } from "./stream.js";

/** out = x times a block-diagonal matrix, plus bias. */
function blockDiagonal(
  stream: Stream,
  x: Tensor,
  blocks: Tensor,
  out: Tensor,
  bias: Tensor | undefined,
): void {
  stream.dispatch({
    shader: "block-diagonal",
    operands: [x, blocks, bias, out] as GpuTensor[],
    parameters: [colsOf(x), colsOf(blocks), x.size, Number(bias !== undefined)],
    groups: gridOf(x.size, 256),
  });
}

export function blocksClaim(stream: Stream): Claim {
  return (form) => {
    if (!isBlocks(form)) return undefined;
    const values = form.parts.get("values") as GpuTensor;
    const own = stream.allocate(values.shape, "f32");
    stream.copy(values, own);
    const [rows, cols] = form.shape;
    return {
      ...{ rows, cols, bytes: own.bytes },
      multiply(x, out, bias) {
        for (const [start, count] of stream.stretches(rowsOf(x), x, out)) {
          const [from, to] = [rowsFrom(x, start, count), rowsFrom(out, start, count)];
          blockDiagonal(stream, from, own, to, bias);
        }
      },
      dispose: () => own.dispose(),
    };
  };
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    blockDiagonal: (x, blocks, out, { bias } = {}) => blockDiagonal(stream, x, blocks, out, bias),
  };
}
