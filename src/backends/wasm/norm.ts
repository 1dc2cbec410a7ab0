import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    rmsNorm(x, gain, out, eps) {
      const width = gain.size;
      const args = [address(x), address(gain), address(out), x.size / width, width, eps];
      kernels.queue("normRms", [args]);
    },
    layerNorm(x, gain, bias, out, eps) {
      const addresses = [x, gain, bias, out].map(address);
      const args = [...addresses, rowsOf(x), colsOf(x), eps];
      kernels.queue("normLayer", [args]);
    },
  };
}
