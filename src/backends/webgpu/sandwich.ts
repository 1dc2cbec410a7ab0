import type { Operations } from "../../backend.js";
import { rowsOf } from "../../tensor.js";
import { blockDiagonal } from "./block-diagonal.js";
import type { Stream } from "./stream.js";
import { twoFourLinear } from "./two-four.js";

/** Between the products stand tensors of this backend's own: one buffer cannot be read and written. */
export function bind(stream: Stream): Partial<Operations> {
  return {
    sandwichLinear(x, weight, { left, right }, _work, out, options) {
      const turned = stream.allocate([rowsOf(x), weight.cols]);
      const inner = stream.allocate([rowsOf(x), weight.rows]);
      blockDiagonal(stream, x, right, turned);
      twoFourLinear(stream, turned, weight, inner);
      blockDiagonal(stream, inner, left, out, options);
      turned.dispose();
      inner.dispose();
    },
  };
}
