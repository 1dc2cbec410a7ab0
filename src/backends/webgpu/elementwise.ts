import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { checkIds } from "../ids.js";
import type { GpuTensor } from "./buffers.js";
import { tensorOf } from "./dense.js";
import { rowsFrom } from "./gemm.js";
import { gridOf, type Stream } from "./stream.js";

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
      const table = tensorOf(given);
      const tokens = (ids as GpuTensor).ids;
      const rows = rowsOf(table);
      if (tokens) checkIds("embed", tokens, rows);
      for (const [start, count] of stream.stretches(rows, table)) {
        stream.dispatch({
          shader: "embed",
          constants: { HALF: table.dtype === "u16" },
          operands: [ids as GpuTensor, rowsFrom(table, start, count), out as GpuTensor],
          parameters: [colsOf(table), out.size, start, count],
          groups: gridOf(out.size, 256),
        });
      }
    },
  };
}
