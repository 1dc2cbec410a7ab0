import type { Operations } from "../../backend.js";
import { address, type Kernels } from "./kernels.js";

export function bind({ exports }: Kernels): Partial<Operations> {
  return {
    swiglu(gate, up, out) {
      exports.elementwiseSwiglu(address(gate), address(up), address(out), out.size);
    },
    subtract(a, b, out) {
      exports.elementwiseSubtract(address(a), address(b), address(out), out.size);
    },
    add(x, y) {
      exports.elementwiseAdd(address(x), address(y), x.size);
    },
  };
}
