import type { Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { sameSize } from "./rules.js";

/**
 * "gelu" is x Φ(x), Φ the distribution of a normal variable; "gelu-tanh" approximates it as
 * x / 2 (1 + tanh(sqrt(2 / π) (x + 0.044715 x³))) (Hendrycks and Gimpel, arXiv 1606.08415); "relu" is
 * max(x, 0).
 */
export type ActivationName = "gelu" | "gelu-tanh" | "relu";

export interface ActivationOperations {
  /**
   * out = f(x), elementwise, to 6e-7 + 2e-7 x² of the value: of tiny values, far below zero, fewer
   * digits are right. `out` may be x.
   */
  activate(x: Tensor, out: Tensor, name: ActivationName): void;
  /** out = gelu-tanh(gate) * up, elementwise. `out` may be gate or up. */
  geglu(gate: Tensor, up: Tensor, out: Tensor): void;
}

export const activation: Contracts<ActivationOperations> = {
  activate: {
    elements: [0, 1],
    check(x, out) {
      sameSize("activate", x, out);
    },
  },
  geglu: {
    elements: [0, 1, 2],
    check(gate, up, out) {
      sameSize("geglu", gate, up);
      sameSize("geglu", gate, out);
    },
  },
};
