import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";
import { updateTrailing } from "./trailing.js";

/** Columns that are swept before the columns after them are updated, as in the shader. */
const TILE = 32;

export function bind(stream: Stream): Partial<Operations> {
  return {
    async coreSweep(core, mask, gradient, gram, hessian, { backwards = false } = {}) {
      const [rows, cols, blockRows] = [rowsOf(core), colsOf(core), colsOf(gram)];
      if (core.size === 0) return 0;
      const moved = stream.allocate([rows, TILE]);
      const gains = stream.allocate([rows], "f32", { zeroed: true });
      for (let step = 0; step < cols; step += TILE) {
        const start = backwards ? Math.floor((cols - 1 - step) / TILE) * TILE : step;
        const next = Math.min(cols, start + TILE);
        const width = next - start;
        stream.dispatch({
          shader: "core-sweep",
          operands: [core, mask, gradient, moved, gains, gram, hessian] as GpuTensor[],
          parameters: [rows, cols, blockRows, start, width, Number(backwards)],
          groups: gridOf(rows / blockRows, 1),
        });
        const col = backwards ? 0 : next;
        updateTrailing(stream, [rows, backwards ? start : cols - next, width], {
          a: { matrix: moved, row: 0, col: 0 },
          b: { matrix: hessian, row: start, col },
          out: { matrix: gradient, row: 0, col },
        });
      }
      const reading = stream.read(gains);
      moved.dispose();
      try {
        let total = 0;
        for (const gain of await reading) total += gain;
        return total;
      } finally {
        gains.dispose();
      }
    },
  };
}
