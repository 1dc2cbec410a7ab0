import type { Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { sameSize } from "./rules.js";

export interface ElementwiseOperations {
  /** out = silu(gate) * up, elementwise. `out` may be gate or up. */
  swiglu(gate: Tensor, up: Tensor, out: Tensor): void;
  /** x += y, elementwise. */
  add(x: Tensor, y: Tensor): void;
}

export const elementwise: Contracts<ElementwiseOperations> = {
  swiglu: {
    elements: [0, 1, 2],
    check(gate, up, out) {
      sameSize("swiglu", gate, up);
      sameSize("swiglu", gate, out);
    },
  },
  add: {
    elements: [0, 1],
    check(x, y) {
      sameSize("add", x, y);
    },
  },
};
