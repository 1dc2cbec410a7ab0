import { colsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, rule, sameSize, vector } from "./rules.js";

export interface NormOperations {
  /**
   * out [T, C] = x / sqrt(mean(x²) + eps) * gain [C], row by row. `out` may be x. A gain shorter
   * than a row is applied to each stretch of its length alone (the norm of q and k per head).
   */
  rmsNorm(x: Tensor, gain: Tensor, out: Tensor, eps: number): void;
  /**
   * out [T, C] = (x - mean(x)) / sqrt(mean((x - mean(x))²) + eps) * gain [C] + bias [C], row by row.
   * `out` may be x.
   */
  layerNorm(x: Tensor, gain: Tensor, bias: Tensor, out: Tensor, eps: number): void;
}

export const norm: Contracts<NormOperations> = {
  rmsNorm: {
    rows: [0, 2],
    check(x, gain, out) {
      sameSize("rmsNorm", x, out);
      dtype("rmsNorm", "x", x, "f32");
      dtype("rmsNorm", "gain", gain, "f32");
      rule(
        "rmsNorm",
        gain.size > 0 && colsOf(x) % gain.size === 0,
        `gain has ${gain.size} elements, which does not divide a row of ${colsOf(x)}.`,
      );
    },
  },
  layerNorm: {
    rows: [0, 3],
    check(x, gain, bias, out) {
      sameSize("layerNorm", x, out);
      dtype("layerNorm", "x", x, "f32");
      vector("layerNorm", "gain", gain, colsOf(x));
      vector("layerNorm", "bias", bias, colsOf(x));
    },
  },
};
