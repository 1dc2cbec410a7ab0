/**
 * Values on a grid whose zero points are floats, as HQQ makes them: (u - z) * s with a code u, and a scale s
 * and a zero point z for every group of columns of a row (form.ts).
 */
import type { Numbers } from "../form.js";
import { codeDamage, countRefusal, groupsOf, groupText, MOST_BITS, scaleDamage } from "./grid.js";
import type { NumberRules } from "./rules.js";

type Affine = Extract<Numbers, { kind: "affine" }>;

export const affine: NumberRules<Affine> = {
  describe: (numbers) => `int${numbers.bits}${groupText(numbers)} with float zeros`,
  refusal: (numbers) => countRefusal(numbers, MOST_BITS),
  valueType: () => "u8",
  parts(numbers, [rows, cols]) {
    const shape = [rows, groupsOf(numbers, cols)[1]];
    return ["scales", "zeros"].map((name) => ({ name, dtype: "f32", shape }) as const);
  },
  reader(numbers, [, cols], parts) {
    const [size, groups] = groupsOf(numbers, cols);
    const [codes, scales, zeros] = ["values", "scales", "zeros"].map((name) => parts.get(name)!);
    return (i, at) => {
      const group = Math.floor(at / cols) * groups + Math.floor((at % cols) / size);
      return (codes[i] - zeros[group]) * scales[group];
    };
  },
  damage: (numbers, parts) => codeDamage(numbers, parts, ["values"]) ?? scaleDamage(parts),
};
