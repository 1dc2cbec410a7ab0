import type { Operations } from "../../backend.js";
import { colsOf, f32, i32, rowsOf } from "../../tensor.js";
import { checkIds } from "../ids.js";
import { address, type Kernels } from "./kernels.js";

export function bind({ exports }: Kernels): Partial<Operations> {
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
  };
}
