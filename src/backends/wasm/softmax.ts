import type { Operations } from "../../backend.js";
import { colsOf, f32, i32, rowsOf, type Tensor } from "../../tensor.js";
import { checkIds } from "../ids.js";
import { address, cut, doublesAt, type Kernels, withScratch } from "./kernels.js";

/** Multiply-adds that take as long as one exponential of a sum, about. */
const EXP_WORK = 8;

/** Of a divergence, f64. */
const SUMS = 3;
const SUMS_BYTES = SUMS * Float64Array.BYTES_PER_ELEMENT;

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    softmax(x, out, temperature) {
      const [width, work] = [colsOf(x), 2 * EXP_WORK * x.size];
      const calls = cut(kernels, rowsOf(x), 1, work).map(({ start, count }) => {
        const [from, to] = [x, out].map((tensor) => address(tensor) + 4 * start * width);
        return [from, to, count, width, 1 / temperature];
      });
      kernels.run("softmax", calls, work);
    },
    crossEntropy(logits, targets, out) {
      const width = colsOf(logits);
      const [xs, ids, losses] = [f32(logits), i32(targets), f32(out)];
      checkIds("crossEntropy", ids, width);
      const rows = Array.from(ids, (_, t) => address(logits) + 4 * t * width);
      const each = (name: string, args: (row: number, t: number) => number[], work: number) =>
        kernels.run(name, rows.map(args), work * rows.length * width);
      const largest = each("softmaxLargest", (row) => [row, width], 1);
      const totals = each("softmaxTotal", (row, t) => [row, width, largest[t]], EXP_WORK);
      for (let t = 0; t < ids.length; t++) {
        losses[t] = Math.log(totals[t]) + largest[t] - xs[t * width + ids[t]];
      }
    },
    klDivergence(reference, logits, out) {
      const [width, rows] = [colsOf(logits), out.size];
      const of = (tensor: Tensor, t: number) => address(tensor) + 4 * t * width;
      const work = rows * width;
      withScratch(kernels, rows * SUMS_BYTES, (scratch) => {
        const each = Array.from({ length: rows }, (_, t) => t);
        const [mostR, mostX] = [reference, logits].map((tensor) =>
          kernels.run(
            "softmaxLargest",
            each.map((t) => [of(tensor, t), width]),
            work,
          ),
        );
        const calls = each.map((t) => [
          ...[of(reference, t), of(logits, t), width, mostR[t], mostX[t]],
          scratch + t * SUMS_BYTES,
        ]);
        kernels.run("softmaxDivergence", calls, 2 * EXP_WORK * work);
        const sums = doublesAt(kernels, scratch, rows * SUMS);
        f32(out).forEach((_, t, divergences) => {
          const [total, sum, other] = sums.subarray(t * SUMS);
          divergences[t] = sum / total - Math.log(total) + Math.log(other);
        });
      });
    },
    argmax(x, out) {
      const [width, rows] = [colsOf(x), rowsOf(x)];
      const calls = Array.from({ length: rows }, (_, t) => [address(x) + 4 * t * width, width]);
      const [values, places] = [f32(x), f32(out)];
      for (const [t, at] of kernels.run("softmaxArgmax", calls, 2 * rows * width).entries()) {
        places.set([at, values[t * width + at]], 2 * t);
      }
    },
  };
}
