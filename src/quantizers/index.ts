import type { AnyMethod } from "../method.js";
import { gptq } from "./gptq.js";
import { hqq } from "./hqq.js";
import { rtn } from "./rtn.js";

/** The methods of quantizing that penjing has. */
export type QuantizerName = "rtn" | "gptq" | "hqq";

/** Every method of quantizing by name. */
export const quantizers: Readonly<Record<string, AnyMethod>> = {
  rtn,
  gptq,
  hqq,
} satisfies Record<QuantizerName, AnyMethod>;
