import type { Operations } from "../../backend.js";
import { address, type Kernels } from "./kernels.js";

/** Multiply-adds that take as long as an exponential, about. */
const EXP_WORK = 16;

export function bind(kernels: Kernels): Partial<Operations> {
  const names = {
    gelu: "activationGelu",
    "gelu-tanh": "activationGeluTanh",
    relu: "activationRelu",
  };
  return {
    activate(x, out, name) {
      kernels.queue(names[name], [[address(x), address(out), out.size]], EXP_WORK * out.size);
    },
    geglu(gate, up, out) {
      const args = [address(gate), address(up), address(out), out.size];
      kernels.queue("activationGeglu", [args], EXP_WORK * out.size);
    },
  };
}
