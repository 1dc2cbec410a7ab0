import type { Operations } from "../../backend.js";
import type { RemovedOptions } from "../operations/removed.js";
import { type LineLoss, SMALLEST, sumOverLines } from "./lines.js";

/**
 * With I = w² s, T the sum of a line of n, L that of what the pattern removes and c = 1 there: the
 * loss is n L / T, and its slope by I is n (c - L / T) / T.
 */
function removedOf({ keep, of }: RemovedOptions): LineLoss {
  return (importance, total) => {
    if (total < SMALLEST) return undefined;
    const { length } = importance;
    const isRemoved = new Uint8Array(length);
    let lost = 0;
    for (let first = 0; first < length; first += of) {
      // Sorting is stable, so that the lowest goes first among equals.
      const order = Array.from({ length: of }, (_, i) => first + i);
      order.sort((a, b) => importance[a] - importance[b]);
      for (const i of order.slice(0, of - keep)) {
        isRemoved[i] = 1;
        lost += importance[i];
      }
    }
    const share = lost / total;
    return { loss: length * share, slope: (i) => (length * (isRemoved[i] - share)) / total };
  };
}

export const removedRows: Operations["removedRows"] = async (w, gradient, options) =>
  sumOverLines("rows", w, gradient, options, removedOf(options));

export const removedColumns: Operations["removedColumns"] = async (w, gradient, options) =>
  sumOverLines("columns", w, gradient, options, removedOf(options));
