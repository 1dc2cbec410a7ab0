import type { Operations } from "../../backend.js";
import { address, type Kernels } from "./kernels.js";

/** Multiply-adds that take as long as a sigmoid, about. */
const SIGMOID_WORK = 16;

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    swiglu(gate, up, out) {
      const args = [address(gate), address(up), address(out), out.size];
      kernels.queue("elementwiseSwiglu", [args], SIGMOID_WORK * out.size);
    },
    subtract(a, b, out) {
      kernels.queue(
        "elementwiseSubtract",
        [[address(a), address(b), address(out), out.size]],
        out.size,
      );
    },
    add(x, y) {
      kernels.queue("elementwiseAdd", [[address(x), address(y), x.size]], x.size);
    },
  };
}
