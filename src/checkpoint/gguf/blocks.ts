/**
 * How ggml's quantized types are decoded. A row of a matrix is made of blocks of a fixed number of
 * weights and bytes. Scales are halves and codes are small, so that every value but the sums with a
 * minimum is exact in f32, and those round once: the order of the operations does not matter.
 */
import { halfValues } from "../dtype.js";

/** Writes the values of whole blocks. */
export type DecodeBlocks = (bytes: Uint8Array, values: Float32Array) => void;

/** A quantized type. */
export interface BlockType {
  /** Weights and bytes of a block. */
  readonly weights: number;
  readonly bytes: number;
  readonly decode: DecodeBlocks;
}

/** The bits of the half at `at`. */
function bits(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8);
}

/** The codes of 32 weights, for the loops below: a closure for each weight would take twice as long. */
const codes = new Uint8Array(32);

/** Reads 32 codes of 4 bits: the low halves of 16 bytes, then the high ones. */
function readNibbles(bytes: Uint8Array, at: number): void {
  for (let j = 0; j < 16; j++) {
    const byte = bytes[at + j];
    codes[j] = byte & 15;
    codes[j + 16] = byte >> 4;
  }
}

/** Adds their fifth bits, which lie in 4 bytes in the order of the weights. */
function readFifthBits(bytes: Uint8Array, at: number): void {
  for (let j = 0; j < 32; j++) codes[j] |= ((bytes[at + (j >> 3)] >> (j & 7)) & 1) << 4;
}

const q40: BlockType = {
  ...{ weights: 32, bytes: 18 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 18, to += 32) {
      const d = half[bits(bytes, at)];
      for (let j = 0; j < 16; j++) {
        const byte = bytes[at + 2 + j];
        values[to + j] = d * ((byte & 15) - 8);
        values[to + 16 + j] = d * ((byte >> 4) - 8);
      }
    }
  },
};

const q41: BlockType = {
  ...{ weights: 32, bytes: 20 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 20, to += 32) {
      const d = half[bits(bytes, at)];
      const m = half[bits(bytes, at + 2)];
      for (let j = 0; j < 16; j++) {
        const byte = bytes[at + 4 + j];
        values[to + j] = d * (byte & 15) + m;
        values[to + 16 + j] = d * (byte >> 4) + m;
      }
    }
  },
};

const q50: BlockType = {
  ...{ weights: 32, bytes: 22 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 22, to += 32) {
      const d = half[bits(bytes, at)];
      readNibbles(bytes, at + 6);
      readFifthBits(bytes, at + 2);
      for (let i = 0; i < 32; i++) values[to + i] = d * (codes[i] - 16);
    }
  },
};

const q51: BlockType = {
  ...{ weights: 32, bytes: 24 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 24, to += 32) {
      const d = half[bits(bytes, at)];
      const m = half[bits(bytes, at + 2)];
      readNibbles(bytes, at + 8);
      readFifthBits(bytes, at + 4);
      for (let i = 0; i < 32; i++) values[to + i] = d * codes[i] + m;
    }
  },
};

const q80: BlockType = {
  ...{ weights: 32, bytes: 34 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 34, to += 32) {
      const d = half[bits(bytes, at)];
      for (let j = 0; j < 32; j++) values[to + j] = d * ((bytes[at + 2 + j] << 24) >> 24);
    }
  },
};

/** Blocks of 256: sixteen runs of 16 with scale and minimum of 4 bits; 2 bits a weight. */
const q2k: BlockType = {
  ...{ weights: 256, bytes: 84 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 84, to += 256) {
      const d = half[bits(bytes, at + 80)];
      const dmin = half[bits(bytes, at + 82)];
      for (let run = 0; run < 16; run++) {
        const scales = bytes[at + run];
        const scale = d * (scales & 15);
        const minimum = dmin * (scales >> 4);
        // Four times 32 weights lie in the same 32 bytes.
        const from = at + 16 + 32 * (run >> 3) + 16 * (run & 1);
        const shift = run & 6;
        for (let l = 0; l < 16; l++) {
          values[to + 16 * run + l] = scale * ((bytes[from + l] >> shift) & 3) - minimum;
        }
      }
    }
  },
};

/** Sixteen runs of 16 with scales of 6 bits; 2 bits a weight, and a third in a mask of 32 bytes. */
const q3k: BlockType = {
  ...{ weights: 256, bytes: 110 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 110, to += 256) {
      const d = half[bits(bytes, at + 108)];
      for (let run = 0; run < 16; run++) {
        const low = bytes[at + 96 + (run & 7)] >> (run < 8 ? 0 : 4);
        const high = bytes[at + 104 + (run & 3)] >> (2 * (run >> 2));
        const scale = d * (((low & 15) | ((high & 3) << 4)) - 32);
        const from = at + 32 + 32 * (run >> 3) + 16 * (run & 1);
        const mask = at + 16 * (run & 1);
        const shift = run & 6;
        for (let l = 0; l < 16; l++) {
          const third = (bytes[mask + l] >> (run >> 1)) & 1;
          values[to + 16 * run + l] = scale * (((bytes[from + l] >> shift) & 3) + 4 * third - 4);
        }
      }
    }
  },
};

/** Scale and minimum of 6 bits of one of eight runs, packed in 12 bytes. */
function scaleAt(bytes: Uint8Array, at: number, run: number): number {
  if (run < 4) return bytes[at + run] & 63;
  return (bytes[at + 4 + run] & 15) | ((bytes[at + run - 4] >> 6) << 4);
}

function minimumAt(bytes: Uint8Array, at: number, run: number): number {
  if (run < 4) return bytes[at + 4 + run] & 63;
  return (bytes[at + 4 + run] >> 4) | ((bytes[at + run] >> 6) << 4);
}

/** Eight runs of 32 with scale and minimum; the codes of two runs lie in the same 32 bytes. */
const q4k: BlockType = {
  ...{ weights: 256, bytes: 144 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 144, to += 256) {
      const d = half[bits(bytes, at)];
      const dmin = half[bits(bytes, at + 2)];
      for (let run = 0; run < 8; run++) {
        const scale = d * scaleAt(bytes, at + 4, run);
        const minimum = dmin * minimumAt(bytes, at + 4, run);
        const from = at + 16 + 32 * (run >> 1);
        const shift = 4 * (run & 1);
        for (let l = 0; l < 32; l++) {
          values[to + 32 * run + l] = scale * ((bytes[from + l] >> shift) & 15) - minimum;
        }
      }
    }
  },
};

const q5k: BlockType = {
  ...{ weights: 256, bytes: 176 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 176, to += 256) {
      const d = half[bits(bytes, at)];
      const dmin = half[bits(bytes, at + 2)];
      for (let run = 0; run < 8; run++) {
        const scale = d * scaleAt(bytes, at + 4, run);
        const minimum = dmin * minimumAt(bytes, at + 4, run);
        const from = at + 48 + 32 * (run >> 1);
        const shift = 4 * (run & 1);
        for (let l = 0; l < 32; l++) {
          const fifth = (bytes[at + 16 + l] >> run) & 1;
          const code = ((bytes[from + l] >> shift) & 15) | (fifth << 4);
          values[to + 32 * run + l] = scale * code - minimum;
        }
      }
    }
  },
};

/** Sixteen runs of 16 with scales of 8 bits; 4 bits a weight and 2 more in 64 bytes. */
const q6k: BlockType = {
  ...{ weights: 256, bytes: 210 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 210, to += 256) {
      const d = half[bits(bytes, at + 208)];
      for (let run = 0; run < 16; run++) {
        const scale = d * ((bytes[at + 192 + run] << 24) >> 24);
        // Of a half's 128 weights, the quarters lie in low and high halves of 64 bytes.
        const quarter = (run >> 1) & 3;
        const low = at + 64 * (run >> 3) + 32 * (quarter & 1) + 16 * (run & 1);
        const high = at + 128 + 32 * (run >> 3) + 16 * (run & 1);
        const shift = 4 * (quarter >> 1);
        for (let l = 0; l < 16; l++) {
          const top = (bytes[high + l] >> (2 * quarter)) & 3;
          const code = ((bytes[low + l] >> shift) & 15) | (top << 4);
          values[to + 16 * run + l] = scale * (code - 32);
        }
      }
    }
  },
};

/** The values of codes of types with a table of sixteen. */
const IQ4_VALUES = Int8Array.of(
  ...[-127, -104, -83, -65, -49, -35, -22, -10],
  ...[1, 13, 25, 38, 53, 69, 89, 113],
);

const iq4nl: BlockType = {
  ...{ weights: 32, bytes: 18 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 18, to += 32) {
      const d = half[bits(bytes, at)];
      readNibbles(bytes, at + 2);
      for (let i = 0; i < 32; i++) values[to + i] = d * IQ4_VALUES[codes[i]];
    }
  },
};

/** Eight runs of 32 with scales of 6 bits: 2 high ones in a half, 4 low ones in 4 bytes. */
const iq4xs: BlockType = {
  ...{ weights: 256, bytes: 136 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 136, to += 256) {
      const d = half[bits(bytes, at)];
      const tops = bits(bytes, at + 2);
      for (let run = 0; run < 8; run++) {
        const low = (bytes[at + 4 + (run >> 1)] >> (4 * (run & 1))) & 15;
        const scale = d * ((low | (((tops >> (2 * run)) & 3) << 4)) - 32);
        const start = to + 32 * run;
        readNibbles(bytes, at + 8 + 16 * run);
        for (let i = 0; i < 32; i++) values[start + i] = scale * IQ4_VALUES[codes[i]];
      }
    }
  },
};

/** Ternary: five weights of 3^n in a byte, as a fraction of 256, the first one leading. */
const tq10: BlockType = {
  ...{ weights: 256, bytes: 54 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 54, to += 256) {
      const d = half[bits(bytes, at + 52)];
      const POWERS = [1, 3, 9, 27, 81];
      const write = (from: number, count: number, start: number, powers: number) => {
        for (let n = 0; n < powers; n++) {
          for (let m = 0; m < count; m++) {
            const digit = (((bytes[from + m] * POWERS[n]) & 255) * 3) >> 8;
            values[start + n * count + m] = d * (digit - 1);
          }
        }
      };
      write(at, 32, to, 5);
      write(at + 32, 16, to + 160, 5);
      write(at + 48, 4, to + 240, 4);
    }
  },
};

/** Ternary in 2 bits: two halves of 128 weights, of each 32 bytes with four weights in a byte. */
const tq20: BlockType = {
  ...{ weights: 256, bytes: 66 },
  decode(bytes, values) {
    const half = halfValues();
    for (let at = 0, to = 0; at < bytes.length; at += 66, to += 256) {
      const d = half[bits(bytes, at + 64)];
      for (let i = 0; i < 256; i++) {
        const byte = bytes[at + 32 * (i >> 7) + (i & 31)];
        values[to + i] = d * (((byte >> (2 * ((i >> 5) & 3))) & 3) - 1);
      }
    }
  },
};

/** Twice the values of the 4-bit floats, so that they are whole. */
const FP4_DOUBLES = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** Floats of 4 bits that share an exponent of 8. */
const mxfp4: BlockType = {
  ...{ weights: 32, bytes: 17 },
  decode(bytes, values) {
    for (let at = 0, to = 0; at < bytes.length; at += 17, to += 32) {
      const scale = 2 ** (bytes[at] - 128);
      readNibbles(bytes, at + 1);
      for (let i = 0; i < 32; i++) values[to + i] = scale * FP4_DOUBLES[codes[i]];
    }
  },
};

/** The quantized types that are read, by their names. */
export const BLOCKS: Readonly<Record<string, BlockType>> = {
  Q4_0: q40,
  Q4_1: q41,
  Q5_0: q50,
  Q5_1: q51,
  Q8_0: q80,
  Q2_K: q2k,
  Q3_K: q3k,
  Q4_K: q4k,
  Q5_K: q5k,
  Q6_K: q6k,
  IQ4_NL: iq4nl,
  IQ4_XS: iq4xs,
  TQ1_0: tq10,
  TQ2_0: tq20,
  MXFP4: mxfp4,
};
