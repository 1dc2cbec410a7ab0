import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels } from "./kernels.js";

export function bind({ exports }: Kernels): Partial<Operations> {
  return {
    rmsNorm(x, gain, out, eps) {
      const width = gain.size;
      exports.normRms(address(x), address(gain), address(out), x.size / width, width, eps);
    },
    layerNorm(x, gain, bias, out, eps) {
      const addresses = [x, gain, bias, out].map(address);
      exports.normLayer(...addresses, rowsOf(x), colsOf(x), eps);
    },
  };
}
