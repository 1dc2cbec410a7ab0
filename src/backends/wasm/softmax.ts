import type { Operations } from "../../backend.js";
import { colsOf, f32, i32, rowsOf } from "../../tensor.js";
import { checkIds } from "../ids.js";
import { address, doublesAt, type Kernels, withScratch } from "./kernels.js";

/** Multiply-adds that take as long as one exponential of a sum, about. */
const EXP_WORK = 8;

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    softmax(x, out, temperature) {
      exports.softmax(address(x), address(out), rowsOf(x), colsOf(x), 1 / temperature);
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
      const width = colsOf(logits);
      // The sum first, as f64 must be aligned.
      withScratch(kernels, 8 + 4 * width, (scratch) => {
        const divergences = f32(out);
        for (let t = 0; t < divergences.length; t++) {
          const [r, x] = [reference, logits].map((tensor) => address(tensor) + 4 * t * width);
          const [mostR, mostX] = [r, x].map((row) => exports.softmaxLargest(row, width));
          const rows = [r, x, width, mostR, mostX] as const;
          const sum = exports.softmaxDivergence(...rows, scratch + 8, scratch);
          const total = doublesAt(kernels, scratch, 1)[0];
          const other = exports.softmaxTotal(x, width, mostX);
          divergences[t] = sum / total - Math.log(total) + Math.log(other);
        }
      });
    },
  };
}
