/**
 * How values become blocks of ggml's types: the plain rules of llama.cpp's reference quantizers, bit for
 * bit. Every operation is one of f32, as there, so each result is rounded before the next one uses it.
 */
import { halfValues, singleBitsToHalf } from "../../dtype.js";

/** Writes whole blocks of values as bytes. */
export type EncodeBlocks = (values: Float32Array, bytes: Uint8Array) => void;

/** Weights of a block of every type but the K ones. */
export const BLOCK = 32;

const round = Math.fround;

/** A value, and its bits. */
const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** Writes the half nearest to a value. */
export function writeHalf(bytes: Uint8Array, at: number, value: number): void {
  single[0] = value;
  const half = singleBitsToHalf(singleBits[0]);
  bytes[at] = half;
  bytes[at + 1] = half >> 8;
}

/** 1 / d in f32; 0 for 0. */
function inverse(d: number): number {
  return d === 0 ? 0 : round(1 / d);
}

/** The codes of a block, before they are packed. */
const codes = new Uint8Array(BLOCK);

/** Writes the low 4 bits of 32 codes: byte j has those of weights j and j + 16. */
export function writeNibbles(bytes: Uint8Array, at: number, from: Uint8Array): void {
  for (let j = 0; j < 16; j++) bytes[at + j] = (from[j] & 15) | ((from[j + 16] & 15) << 4);
}

/** Writes the fifth bits of 32 codes in the order of the weights. */
export function writeFifthBits(bytes: Uint8Array, at: number, from: Uint8Array): void {
  for (let byte = 0; byte < 4; byte++) {
    let bits = 0;
    for (let i = 0; i < 8; i++) bits |= ((from[8 * byte + i] >> 4) & 1) << i;
    bytes[at + byte] = bits;
  }
}

/** The value of largest magnitude in a block, with its sign; the first of several. */
function extreme(values: Float32Array, at: number): number {
  let [most, found] = [0, 0];
  for (let i = at; i < at + BLOCK; i++) {
    const magnitude = Math.abs(values[i]);
    if (magnitude > most) {
      most = magnitude;
      found = values[i];
    }
  }
  return found;
}

/** Codes of a grid that the value of largest magnitude takes the lowest one of, zero being `middle`. */
function signedCodes(values: Float32Array, at: number, middle: number): number {
  const d = round(extreme(values, at) / -middle);
  const id = inverse(d);
  for (let i = 0; i < BLOCK; i++) {
    const code = Math.trunc(round(round(values[at + i] * id) + (middle + 0.5)));
    codes[i] = Math.min(2 * middle - 1, code);
  }
  return d;
}

/** Codes of a grid from the least value to the greatest one. */
function rangedCodes(values: Float32Array, at: number, most: number) {
  let [least, greatest] = [values[at], values[at]];
  for (let i = at + 1; i < at + BLOCK; i++) {
    if (values[i] < least) least = values[i];
    if (values[i] > greatest) greatest = values[i];
  }
  const d = round(round(greatest - least) / most);
  const id = inverse(d);
  for (let i = 0; i < BLOCK; i++) {
    const code = Math.trunc(round(round(round(values[at + i] - least) * id) + 0.5));
    codes[i] = Math.min(most, code);
  }
  return { d, m: least };
}

/** Half away from zero, as C's roundf. */
function roundAway(value: number): number {
  return Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
}

/** The quantizers by the names of types; each takes whole blocks of 32 values. */
export const ENCODERS: Readonly<Record<string, EncodeBlocks>> = {
  Q4_0(values, bytes) {
    for (let at = 0, to = 0; at < values.length; at += BLOCK, to += 18) {
      writeHalf(bytes, to, signedCodes(values, at, 8));
      writeNibbles(bytes, to + 2, codes);
    }
  },
  Q4_1(values, bytes) {
    for (let at = 0, to = 0; at < values.length; at += BLOCK, to += 20) {
      const { d, m } = rangedCodes(values, at, 15);
      writeHalf(bytes, to, d);
      writeHalf(bytes, to + 2, m);
      writeNibbles(bytes, to + 4, codes);
    }
  },
  Q5_0(values, bytes) {
    for (let at = 0, to = 0; at < values.length; at += BLOCK, to += 22) {
      writeHalf(bytes, to, signedCodes(values, at, 16));
      writeFifthBits(bytes, to + 2, codes);
      writeNibbles(bytes, to + 6, codes);
    }
  },
  Q5_1(values, bytes) {
    for (let at = 0, to = 0; at < values.length; at += BLOCK, to += 24) {
      const { d, m } = rangedCodes(values, at, 31);
      writeHalf(bytes, to, d);
      writeHalf(bytes, to + 2, m);
      writeFifthBits(bytes, to + 4, codes);
      writeNibbles(bytes, to + 8, codes);
    }
  },
  Q8_0(values, bytes) {
    for (let at = 0, to = 0; at < values.length; at += BLOCK, to += 34) {
      const d = round(Math.abs(extreme(values, at)) / 127);
      const id = inverse(d);
      writeHalf(bytes, to, d);
      for (let i = 0; i < BLOCK; i++) bytes[to + 2 + i] = roundAway(round(values[at + i] * id));
    }
  },
};

/** Where the halves lie in a block. */
function placesOfHalves(type: string): readonly number[] {
  if (type === "Q6_K") return [208];
  return /_1$|_K$/.test(type) ? [0, 2] : [0];
}

/** The place of the first block with a half that is not finite; -1 when all are. */
export function firstOverflow(type: string, bytes: Uint8Array, blockBytes: number): number {
  const values = halfValues();
  const places = placesOfHalves(type);
  for (let at = 0; at < bytes.length; at += blockBytes) {
    for (const place of places) {
      const bits = bytes[at + place] | (bytes[at + place + 1] << 8);
      if (!Number.isFinite(values[bits])) return at / blockBytes;
    }
  }
  return -1;
}
