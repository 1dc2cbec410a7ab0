import type { Operations } from "../../backend.js";
import { colsOf, type Tensor } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import type { Constants } from "./shader-text.js";
import type { Stream } from "./stream.js";
import { updateTrailing } from "./trailing.js";

/** Rows and columns of a block, as in the shaders. */
const BLOCK = 32;
/** Rows of a panel, or columns of a solve, that a workgroup takes. */
const STRETCH = 64;

/** One of shaders/square.wgsl's ways to change a square matrix in place. */
export function changeSquare(stream: Stream, a: Tensor, constants: Constants): void {
  const groups = Math.ceil(colsOf(a) / 16);
  stream.dispatch({
    shader: "square",
    constants,
    operands: [a] as GpuTensor[],
    parameters: [colsOf(a)],
    groups: [groups, groups],
  });
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    async cholesky(a) {
      const n = colsOf(a);
      if (n === 0) return -1;
      const found = stream.allocate([1], "i32");
      const panel = stream.allocate([n, BLOCK]);
      stream.write(found, Int32Array.of(-1));
      for (let start = 0; start < n; start += BLOCK) {
        const next = start + BLOCK;
        stream.dispatch({
          shader: "cholesky-factor",
          operands: [a, found] as GpuTensor[],
          parameters: [n, start],
          groups: [1],
        });
        if (next >= n) break;
        stream.dispatch({
          shader: "cholesky-panel",
          operands: [a, panel] as GpuTensor[],
          parameters: [n, start],
          groups: [Math.ceil((n - next) / STRETCH)],
        });
        const rows = { matrix: panel, row: next, col: 0 };
        const out = { matrix: a, row: next, col: next };
        const options = { transposeB: true, lower: true };
        updateTrailing(stream, [n - next, n - next, BLOCK], { a: rows, b: rows, out }, options);
      }
      changeSquare(stream, a, {});
      const reading = stream.read(found);
      panel.dispose();
      try {
        return (await reading)[0];
      } finally {
        found.dispose();
      }
    },
    async triangularInverse(given, out) {
      const n = colsOf(given);
      // No shader reads what it writes.
      const l = given === out ? stream.allocate([n, n]) : given;
      if (l !== given) stream.copy(given as GpuTensor, l as GpuTensor);
      const panel = stream.allocate([BLOCK, n]);
      changeSquare(stream, out, { IDENTITY: true });
      for (let start = 0; start < n; start += BLOCK) {
        const next = Math.min(n, start + BLOCK);
        stream.dispatch({
          shader: "triangular-solve",
          operands: [l, out, panel] as GpuTensor[],
          parameters: [n, start],
          groups: [Math.ceil(next / STRETCH)],
        });
        updateTrailing(stream, [n - next, next, BLOCK], {
          a: { matrix: l, row: next, col: start },
          b: { matrix: panel, row: 0, col: 0 },
          out: { matrix: out, row: next, col: 0 },
        });
      }
      panel.dispose();
      if (l !== given) l.dispose();
    },
    reverse(a) {
      changeSquare(stream, a, { REVERSE: true });
    },
  };
}
