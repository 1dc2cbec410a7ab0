import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { checkIds } from "../ids.js";
import type { GpuTensor } from "./buffers.js";
import { rowsFrom } from "./gemm.js";
import { gridOf, type Stream } from "./stream.js";
import { floatsOf } from "./weights.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    swiglu(gate, up, out) {
      stream.dispatch({
        shader: "binary",
        constants: { SWIGLU: true },
        operands: [gate, up, out] as GpuTensor[],
        parameters: [out.size],
        groups: gridOf(out.size, 256),
      });
    },
    add(x, y) {
      stream.dispatch({
        shader: "in-place",
        operands: [y, x] as GpuTensor[],
        parameters: [x.size, x.size],
        groups: gridOf(x.size, 256),
      });
    },
    embed(given, ids, out) {
      const { tensor: table, isOwn } = floatsOf(stream, given);
      const tokens = (ids as GpuTensor).ids;
      const rows = rowsOf(table);
      if (tokens) checkIds("embed", tokens, rows);
      for (const [start, count] of stream.stretches(rows, table)) {
        stream.dispatch({
          shader: "embed",
          operands: [rowsFrom(table, start, count), ids as GpuTensor, out as GpuTensor],
          parameters: [colsOf(table), out.size, start, count],
          groups: gridOf(out.size, 256),
        });
      }
      if (isOwn) table.dispose();
    },
  };
}
