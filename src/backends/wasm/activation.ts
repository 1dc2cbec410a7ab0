import type { Operations } from "../../backend.js";
import { address, type Kernels } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const names = {
    gelu: "activationGelu",
    "gelu-tanh": "activationGeluTanh",
    relu: "activationRelu",
  };
  return {
    activate(x, out, name) {
      kernels.queue(names[name], [[address(x), address(out), out.size]]);
    },
    geglu(gate, up, out) {
      const args = [address(gate), address(up), address(out), out.size];
      kernels.queue("activationGeglu", [args]);
    },
  };
}
