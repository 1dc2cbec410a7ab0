import type { GpuTensor } from "./buffers.js";
import type { Stream } from "./stream.js";

/** What the digit of 8 bits that a pass settles can be. */
const DIGITS = 256;
const MOST_COUNTING_GROUPS = 1024;

/**
 * Finds which `wanted` scores of a whole tensor are the smallest, the lowest index first among
 * equals. An exact radix selection on the device: digit by digit of the scores' bits, then of the
 * indices of the scores that equal the last one taken.
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
