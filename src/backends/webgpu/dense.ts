import type { Leaf } from "../../form.js";
import { isRowGrid, middleOf } from "../../forms/grid.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Claim, KernelMatrix } from "../forms.js";
import { checkIds } from "../ids.js";
import type { GpuTensor } from "./buffers.js";
import {
  columnsFrom,
  elementsFrom,
  FEW_TOKENS,
  rowsFrom,
  TOKENS_A_GROUP,
  tiledProduct,
} from "./gemm.js";
import { gridOf, type Stream } from "./stream.js";

/**
 * A copy of a leaf's values as shaders read them: f32 and f16 as they are, bf16 and codes of a grid
 * with a scale for each row as f32; undefined for other numbers.
 */
export function ownValues(stream: Stream, { numbers, parts, shape }: Leaf): GpuTensor | undefined {
  const values = parts.get("values") as GpuTensor;
  const [rows, cols] = [rowsOf(values), colsOf(values)];
  if (numbers.kind === "float" && numbers.dtype !== "bf16") {
    const own = stream.allocate([rows, cols], values.dtype);
    stream.copy(values, own);
    return own;
  }
  if (numbers.kind !== "float" && !isRowGrid(numbers, shape[1])) return undefined;
  const own = stream.allocate([rows, cols], "f32");
  for (const [start, count] of stream.stretches(rows, values, own)) {
    const [from, to] = [rowsFrom(values, start, count), rowsFrom(own, start, count)];
    const size = count * cols;
    const groups = gridOf(size, 256);
    if (numbers.kind === "grid") {
      const operands = [from, elementsFrom(parts.get("scales"), start, count), to];
      const parameters = [cols, size, middleOf(numbers)];
      stream.dispatch({ shader: "widen-bytes", operands, parameters, groups });
    } else {
      const constants = { BRAIN: true };
      stream.dispatch({
        shader: "widen",
        constants,
        operands: [from, to],
        parameters: [size],
        groups,
      });
    }
  }
  return own;
}

/** Whether a shader may read rows of `cols` elements as vectors of four. */
export function hasQuads(cols: number, ...tensors: readonly Tensor[]): boolean {
  return cols % 4 === 0 && tensors.every((t) => (t as GpuTensor).byteOffset % 16 === 0);
}

function multiply(
  stream: Stream,
  x: Tensor,
  weight: GpuTensor,
  out: Tensor,
  bias: Tensor | undefined,
): void {
  const [tokens, k, n] = [rowsOf(x), colsOf(x), rowsOf(weight)];
  if (tokens > FEW_TOKENS) {
    tiledProduct(stream, x, weight, out, { transposeB: true, bias });
    return;
  }
  const together = tokens === 1 ? 1 : TOKENS_A_GROUP;
  for (const [start, count] of stream.stretches(n, weight)) {
    const rows = rowsFrom(weight, start, count);
    stream.dispatch({
      shader: "gemv",
      constants: {
        QUADS: hasQuads(k, x, rows),
        TOKENS: together,
        HALF: weight.dtype === "u16",
      },
      operands: [x as GpuTensor, rows, elementsFrom(bias, start, count), columnsFrom(out, start)],
      parameters: [tokens, count, k, Number(bias !== undefined), n],
      groups: [stream.rowGroups(count), Math.ceil(tokens / together)],
    });
  }
}

/** A tensor [rows, cols] of f32, or u16 holding f16, as it is. */
export function plain(stream: Stream, weight: GpuTensor): KernelMatrix {
  const [rows, cols] = [rowsOf(weight), colsOf(weight)];
  return {
    ...{ rows, cols, bytes: weight.bytes },
    multiply: (x, out, bias) => multiply(stream, x, weight, out, bias),
    embed(ids, out) {
      const tokens = (ids as GpuTensor).ids;
      if (tokens) checkIds("embed", tokens, rows);
      for (const [start, count] of stream.stretches(rows, weight)) {
        stream.dispatch({
          shader: "embed",
          constants: { HALF: weight.dtype === "u16" },
          operands: [ids as GpuTensor, rowsFrom(weight, start, count), out as GpuTensor],
          parameters: [cols, out.size, start, count],
          groups: gridOf(out.size, 256),
        });
      }
    },
    dispose() {},
  };
}

export function denseClaim(stream: Stream): Claim {
  return (form) => {
    if (form.kind !== "leaf" || form.structure.kind !== "dense") return undefined;
    const own = ownValues(stream, form);
    return own && { ...plain(stream, own), dispose: () => own.dispose() };
  };
}
