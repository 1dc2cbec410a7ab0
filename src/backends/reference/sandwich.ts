import type { Operations } from "../../backend.js";
import { f32, type HostTensor, rowsOf, type Tensor } from "../../tensor.js";
import { blockDiagonal } from "./block-diagonal.js";
import { twoFourLinear } from "./two-four.js";

/** `size` elements of a tensor as one row. */
function part(tensor: Tensor, start: number, size: number): HostTensor {
  const data = f32(tensor).subarray(start, start + size);
  return { dtype: "f32", shape: [1, size], size, data, dispose() {}, [Symbol.dispose]() {} };
}

export const sandwichLinear: Operations["sandwichLinear"] = (
  x,
  weight,
  { left, right },
  work,
  out,
  options,
) => {
  const { rows, cols } = weight;
  const [turned, inner] = [part(work, 0, cols), part(work, cols, rows)];
  for (let t = 0; t < rowsOf(x); t++) {
    blockDiagonal(part(x, t * cols, cols), right, turned);
    twoFourLinear(turned, weight, inner);
    blockDiagonal(inner, left, part(out, t * rows, rows), options);
  }
};
