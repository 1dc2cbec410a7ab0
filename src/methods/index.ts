import type { AnyMethod } from "../method.js";
import { admm } from "./admm.js";
import { armor } from "./armor.js";
import { armorHessian } from "./armor-hessian.js";
import { magnitude } from "./magnitude.js";
import { nowag } from "./nowag.js";
import { sparsegpt } from "./sparsegpt.js";
import { wanda } from "./wanda.js";

/** The pruning methods that penjing has. */
export type MethodName =
  | "magnitude"
  | "wanda"
  | "sparsegpt"
  | "nowag"
  | "admm"
  | "armor"
  | "armor-hessian";

/** Every pruning method by name. */
export const methods: Readonly<Record<string, AnyMethod>> = {
  magnitude,
  wanda,
  sparsegpt,
  nowag,
  admm,
  armor,
  "armor-hessian": armorHessian,
} satisfies Record<MethodName, AnyMethod>;
