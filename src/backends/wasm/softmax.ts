import type { Operations } from "../../backend.js";
import { colsOf, f32, i32, rowsOf } from "../../tensor.js";
import { checkIds } from "../ids.js";
import { address, doublesAt, type Kernels, withScratch } from "./kernels.js";

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
      for (let t = 0; t < ids.length; t++) {
        const row = address(logits) + 4 * t * width;
        const largest = exports.softmaxLargest(row, width);
        const total = exports.softmaxTotal(row, width, largest);
        losses[t] = Math.log(total) + largest - xs[t * width + ids[t]];
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
