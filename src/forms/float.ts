/** Values that are floats: as they are stored, in 32 or 16 bits. */
import type { Numbers } from "../form.js";
import type { NumberRules } from "./rules.js";

/** The value of IEEE 754 binary16 bits. */
export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const number = new Float32Array(1);
const bits = new Uint32Array(number.buffer);

/** The value of bfloat16 bits: the upper half of a float32. */
export function fromBrain(brain: number): number {
  bits[0] = brain << 16;
  return number[0];
}

export const float: NumberRules<Extract<Numbers, { kind: "float" }>> = {
  describe: ({ dtype }) => dtype,
  refusal: ({ dtype }) =>
    ["f32", "f16", "bf16"].includes(dtype) ? undefined : `its dtype must be f32, f16 or bf16`,
  valueType: ({ dtype }) => (dtype === "f32" ? "f32" : "u16"),
  parts: () => [],
  reader({ dtype }, _shape, parts) {
    const values = parts.get("values")!;
    if (dtype === "f32") return (i) => values[i];
    const read = dtype === "f16" ? fromHalf : fromBrain;
    return (i) => read(values[i]);
  },
};
