import type { Operations } from "../../backend.js";
import { address, type Kernels } from "./kernels.js";

export function bind({ exports }: Kernels): Partial<Operations> {
  return {
    widen(bits, out, format) {
      const convert = format === "f16" ? exports.convertWidenF16 : exports.convertWidenBF16;
      convert(address(bits), address(out), out.size);
    },
    narrow(x, out, format) {
      const convert = format === "f16" ? exports.convertNarrowF16 : exports.convertNarrowBF16;
      convert(address(x), address(out), out.size);
    },
  };
}
