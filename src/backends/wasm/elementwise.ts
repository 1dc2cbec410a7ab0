import type { Operations } from "../../backend.js";
import { address, type Kernels } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    swiglu(gate, up, out) {
      const args = [address(gate), address(up), address(out), out.size];
      kernels.queue("elementwiseSwiglu", [args]);
    },
    subtract(a, b, out) {
      const args = [address(a), address(b), address(out), out.size];
      kernels.queue("elementwiseSubtract", [args]);
    },
    add(x, y) {
      kernels.queue("elementwiseAdd", [[address(x), address(y), x.size]]);
    },
  };
}
