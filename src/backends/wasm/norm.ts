import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels } from "./kernels.js";

/** Multiply-adds that take as long as what a norm does to an element, about. */
const NORM_WORK = 4;

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    rmsNorm(x, gain, out, eps) {
      const width = gain.size;
      const args = [address(x), address(gain), address(out), x.size / width, width, eps];
      kernels.queue("normRms", [args], NORM_WORK * x.size);
    },
    layerNorm(x, gain, bias, out, eps) {
      const addresses = [x, gain, bias, out].map(address);
      const args = [...addresses, rowsOf(x), colsOf(x), eps];
      kernels.queue("normLayer", [args], NORM_WORK * x.size);
    },
  };
}
