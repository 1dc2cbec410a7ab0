import type { Operations } from "../../backend.js";
import { address, type Kernels } from "./kernels.js";

export function bind({ exports }: Kernels): Partial<Operations> {
  return {
    rmsNorm(x, gain, out, eps) {
      const width = gain.size;
      exports.normRms(address(x), address(gain), address(out), x.size / width, width, eps);
    },
  };
}
