import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, matrix } from "./rules.js";

export interface TransposeOperations {
  /** out [C, R] = a [R, C] transposed. */
  transpose(a: Tensor, out: Tensor): void;
}

export const transpose: Contracts<TransposeOperations> = {
  transpose: {
    check(a, out) {
      dtype("transpose", "a", a, "f32");
      matrix("transpose", "out", out, colsOf(a), rowsOf(a));
    },
  },
};
