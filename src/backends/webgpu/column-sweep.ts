import type { Operations } from "../../backend.js";
import { removedCount } from "../../sparsity.js";
import { colsOf, rowsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { Selection } from "./selection.js";
import { gridOf, type Stream } from "./stream.js";
import { updateTrailing } from "./trailing.js";

/** Columns that a workgroup sweeps at once, at most, and its rows: as in the shader. */
const STRIP = 32;
const ROWS = 64;

export function bind(stream: Stream): Partial<Operations> {
  return {
    /**
     * Blocks of columns are cut into strips. A strip is swept in workgroup memory. Its errors are
     * then taken off the rest of its block, and those of a whole block off all columns after it.
     */
    async columnSweep(w, u, mask, { pattern, blockSize }) {
      const [rows, cols] = [rowsOf(w), colsOf(w)];
      if (w.size === 0) return 0;
      const of = "m" in pattern ? pattern.m : 1;
      const drop = "m" in pattern ? pattern.m - pattern.n : 0;
      const block = Math.min(blockSize, cols);
      const strip = STRIP - (STRIP % of);
      const stripsOfBlock = Math.ceil(block / strip);
      const strips = Math.ceil(cols / block) * stripsOfBlock;
      const errors = stream.allocate([rows, block]);
      const kept = stream.allocate([rows, strips], "i32");
      const losses = stream.allocate([rows], "f32", { zeroed: true });
      const scores = "ratio" in pattern ? stream.allocate([rows, block]) : undefined;
      const selection = "ratio" in pattern ? new Selection(stream) : undefined;
      for (let start = 0; start < cols; start += block) {
        const width = Math.min(block, cols - start);
        const next = start + width;
        let chosen = scores;
        if (scores && "ratio" in pattern) {
          chosen = scores.view([rows, width], 0);
          stream.dispatch({
            shader: "column-sweep-scores",
            operands: [w, u, chosen] as GpuTensor[],
            parameters: [chosen.size, cols, start, width],
            groups: gridOf(chosen.size, 256),
          });
          selection?.run(chosen, removedCount(chosen.size, pattern.ratio));
        }
        for (let offset = 0; offset < width; offset += strip) {
          const count = Math.min(strip, width - offset);
          const at = start + offset;
          const index = (start / block) * stripsOfBlock + offset / strip;
          stream.dispatch({
            shader: "column-sweep",
            constants: { RATIO: "ratio" in pattern, OF: of },
            operands: [w, u, errors, kept, losses, chosen, selection?.threshold] as GpuTensor[],
            parameters: [rows, cols, at, count, width, offset, index, strips, drop],
            groups: [Math.ceil(rows / ROWS)],
          });
          updateTrailing(stream, [rows, next - at - count, count], {
            a: { matrix: errors.view([rows, width], 0), row: 0, col: offset },
            b: { matrix: u, row: at, col: at + count },
            out: { matrix: w, row: 0, col: at + count },
          });
        }
        updateTrailing(stream, [rows, cols - next, width], {
          a: { matrix: errors.view([rows, width], 0), row: 0, col: 0 },
          b: { matrix: u, row: start, col: next },
          out: { matrix: w, row: 0, col: next },
        });
      }
      stream.dispatch({
        shader: "column-sweep-mask",
        operands: [kept, mask] as GpuTensor[],
        parameters: [mask.size, cols, block, strip, stripsOfBlock, strips],
        groups: gridOf(mask.size / 4 + 1, 256),
      });
      const reading = stream.read(losses);
      for (const part of [errors, kept, scores, selection]) part?.dispose();
      try {
        let total = 0;
        for (const loss of await reading) total += loss;
        return total;
      } finally {
        losses.dispose();
      }
    },
  };
}
