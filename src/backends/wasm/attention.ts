import type { Operations } from "../../backend.js";
import { rowsOf } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    attention(q, k, v, out, { heads, kvHeads, headDim, window }) {
      const [queries, keys] = [rowsOf(q), rowsOf(k)];
      const seen = Math.min(window ?? keys, keys);
      const group = heads / kvHeads;
      withScratch(kernels, 4 * group * seen, (scores) =>
        kernels.exports.attention(
          ...[address(q), address(k), address(v), address(out)],
          ...[queries, keys, kvHeads, group, headDim, seen],
          ...[1 / Math.sqrt(headDim), scores],
        ),
      );
    },
  };
}
