import type { Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

/** What the digit of 8 bits that a pass settles can be. */
const DIGITS = 256;
const MOST_COUNTING_GROUPS = 1024;

/**
 * Finds which `wanted` scores of a whole tensor are the smallest, ties going to the lowest index, by
 * an exact radix selection on the device: digit by digit of the scores' bits, then of the indices
 * of those that equal the last one.
 */
export class Selection {
  /** The threshold of shaders/score-key.wgsl, in i32 words. */
  readonly threshold: GpuTensor;
  private readonly counts: GpuTensor;

  constructor(private readonly stream: Stream) {
    this.threshold = stream.allocate([3], "i32");
    this.counts = stream.allocate([DIGITS], "i32", { zeroed: true });
  }

  /** @param wanted from 0 to scores.size */
  run(scores: GpuTensor, wanted: number): void {
    if (wanted === 0) {
      // A threshold of zeros lets nothing go.
      this.stream.write(this.threshold, new Int32Array(3));
      return;
    }
    const bits = 32 - Math.clz32(scores.size - 1);
    const shifts = [24, 16, 8, 0];
    const steps = [
      ...shifts.map((shift) => ({ shift, byIndex: false })),
      ...shifts
        .filter((shift) => shift < Math.max(bits, 1))
        .map((shift) => ({ shift, byIndex: true })),
    ];
    steps.forEach(({ shift, byIndex }, i) => {
      const constants = { BY_INDEX: byIndex };
      this.stream.dispatch({
        shader: "select-count",
        constants,
        operands: [scores, this.threshold, this.counts],
        parameters: [scores.size, shift],
        groups: [Math.min(MOST_COUNTING_GROUPS, Math.ceil(scores.size / 256))],
      });
      this.stream.dispatch({
        shader: "select-digit",
        constants,
        operands: [this.threshold, this.counts],
        parameters: [shift, wanted, Number(i === 0), Number(i === steps.length - 1)],
        groups: [1],
      });
    });
  }

  dispose(): void {
    this.threshold.dispose();
    this.counts.dispose();
  }
}

/** Writes the mask of scores of which each `period` have a threshold, `pitch` words from the next. */
function mark(
  stream: Stream,
  scores: Tensor,
  thresholds: GpuTensor,
  mask: Tensor,
  [period, pitch]: readonly [number, number],
): void {
  stream.dispatch({
    shader: "select-mark",
    operands: [scores, thresholds, mask] as GpuTensor[],
    parameters: [scores.size, period, pitch],
    groups: gridOf(scores.size / 4 + 1, 256),
  });
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    selectPerRow(scores, mask, count) {
      const [rows, cols] = [rowsOf(scores), colsOf(scores)];
      if (scores.size === 0) return;
      const thresholds = stream.allocate([rows, 2], "i32", { zeroed: true });
      if (count > 0) {
        stream.dispatch({
          shader: "select-rows",
          operands: [scores, thresholds] as GpuTensor[],
          parameters: [rows, cols, count],
          groups: gridOf(rows, 1),
        });
      }
      mark(stream, scores, thresholds, mask, [cols, 2]);
      thresholds.dispose();
    },
    selectPerMatrix(scores, mask, count) {
      if (scores.size === 0) return;
      const selection = new Selection(stream);
      selection.run(scores as GpuTensor, count);
      mark(stream, scores, selection.threshold, mask, [scores.size, 0]);
      selection.dispose();
    },
  };
}
