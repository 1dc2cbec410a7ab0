import type { Operations } from "../../backend.js";
import { fromBrain, fromHalf } from "../../forms/float.js";
import { f32, u16 } from "../../tensor.js";

const number = new Float32Array(1);
const bits = new Uint32Array(number.buffer);

function roundHalfToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** The nearest binary16 of a float32, ties to even. */
function toHalf(x: number): number {
  number[0] = x;
  const sign = (bits[0] >>> 16) & 0x8000;
  const magnitude = Math.abs(x);
  if (Number.isNaN(x)) return sign | 0x7e00;
  // Halfway between the largest finite value, 65504, and the 65536 that would follow it.
  if (magnitude >= 65520) return sign | 0x7c00;
  const exponent = Math.max(((bits[0] >>> 23) & 255) - 127, -14);
  // In units of the last place; a carry out of the fraction raises the exponent by itself.
  const units = roundHalfToEven(magnitude * 2 ** (10 - exponent));
  return sign | (units + (exponent + 14) * 1024);
}

/** The nearest bfloat16 of a float32, ties to even. */
function toBrain(x: number): number {
  number[0] = x;
  if (Number.isNaN(x)) return (bits[0] >>> 16) | 0x40;
  return (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) >>> 16;
}

export const widen: Operations["widen"] = (halves, out, format) => {
  const [from, to] = [u16(halves), f32(out)];
  const convert = format === "f16" ? fromHalf : fromBrain;
  for (let i = 0; i < from.length; i++) to[i] = convert(from[i]);
};

export const narrow: Operations["narrow"] = (x, out, format) => {
  const [from, to] = [f32(x), u16(out)];
  const convert = format === "f16" ? toHalf : toBrain;
  for (let i = 0; i < from.length; i++) to[i] = convert(from[i]);
};
