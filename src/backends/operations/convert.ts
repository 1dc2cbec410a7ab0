import type { Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, sameSize } from "./rules.js";

/** Half-precision formats that weights are stored in. */
export type HalfFormat = "f16" | "bf16";

export interface ConvertOperations {
  /** out f32 = bits u16 read as f16 or bf16; exact. */
  widen(bits: Tensor, out: Tensor, format: HalfFormat): void;
  /** out u16 = x rounded to nearest, ties to even; f16 overflow becomes infinity. */
  narrow(x: Tensor, out: Tensor, format: HalfFormat): void;
}

export const convert: Contracts<ConvertOperations> = {
  widen: {
    elements: [0, 1],
    check(bits, out) {
      dtype("widen", "bits", bits, "u16");
      dtype("widen", "out", out, "f32");
      sameSize("widen", bits, out);
    },
  },
  narrow: {
    elements: [0, 1],
    check(x, out) {
      dtype("narrow", "x", x, "f32");
      dtype("narrow", "out", out, "u16");
      sameSize("narrow", x, out);
    },
  },
};
