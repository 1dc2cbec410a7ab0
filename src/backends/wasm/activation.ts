import type { Operations } from "../../backend.js";
import { address, type Kernels } from "./kernels.js";

export function bind({ exports }: Kernels): Partial<Operations> {
  const kernels = {
    gelu: exports.activationGelu,
    "gelu-tanh": exports.activationGeluTanh,
    relu: exports.activationRelu,
  };
  return {
    activate(x, out, name) {
      kernels[name](address(x), address(out), out.size);
    },
    geglu(gate, up, out) {
      exports.activationGeglu(address(gate), address(up), address(out), out.size);
    },
  };
}
