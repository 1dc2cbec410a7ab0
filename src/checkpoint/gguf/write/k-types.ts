/**
 * How values become blocks of ggml's K types: 256 weights in runs, whose scales are whole numbers times a
 * half that the block's runs share. A run's scale and minimum are those of the least weighed squared error
 * among some ranges, each fitted to its codes; rounded, they are tried beside their neighbours.
 */
import type { KTypeName } from "../../../form.js";
import { halfValues, singleBitsToHalf } from "../../dtype.js";
import { writeHalf } from "./encode.js";

/** Weights of a block. */
export const K_BLOCK = 256;
/** The most that scales and minima of 6 bits are. */
const MOST_SCALE = 63;

/**
 * Writes whole blocks of values as bytes.
 *
 * @param importance [columns] of the values' rows: what an error in each column weighs, as the mean square
 *   of its input. @default what weights of their size usually do
 */
export type EncodeKBlocks = (
  values: Float32Array,
  bytes: Uint8Array,
  importance?: Float32Array,
) => void;

/** The values of a block, what their errors weigh, and their codes. */
const x = new Float64Array(K_BLOCK);
const omega = new Float64Array(K_BLOCK);
const codes = new Uint8Array(K_BLOCK);

/** Some of a block's values that share a scale. */
interface Span {
  readonly start: number;
  readonly end: number;
}

function spans(length: number): readonly Span[] {
  const count = K_BLOCK / length;
  return Array.from({ length: count }, (_, i) => ({ start: i * length, end: (i + 1) * length }));
}

const RUNS_OF_32 = spans(32);
const RUNS_OF_16 = spans(16);

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** The half nearest to a value. */
function nearestHalf(value: number): number {
  single[0] = value;
  return halfValues()[singleBitsToHalf(singleBits[0])];
}

/** The nearest whole number in a range; its least one where nothing is nearest. */
function within(value: number, least: number, most: number): number {
  const level = Math.floor(value + 0.5);
  return level >= least ? Math.min(level, most) : least;
}

function meanSquare({ start, end }: Span): number {
  let sum = 0;
  for (let i = start; i < end; i++) sum += x[i] * x[i];
  return sum / (end - start);
}

/** Takes the values of a block. */
function take(values: Float32Array, at: number): void {
  for (let i = 0; i < K_BLOCK; i++) x[i] = values[at + i];
}

/** What errors weigh at least in columns that are said to matter less, as a share of their run's mean. */
const LEAST_SHARE = 1e-6;

/**
 * Weighs the errors of a block's runs; where all of a run's weigh nothing, they weigh the same.
 *
 * @param least share of a run's mean that each weighs. @default 0
 */
function weigh(runs: readonly Span[], weightOf: (i: number) => number, least = 0): void {
  for (const { start, end } of runs) {
    let sum = 0;
    for (let i = start; i < end; i++) {
      omega[i] = weightOf(i);
      sum += omega[i];
    }
    if (!(sum > 0)) omega.fill(1, start, end);
    const floor = (least * sum) / (end - start);
    if (floor > 0) for (let i = start; i < end; i++) omega[i] = Math.max(omega[i], floor);
  }
}

/** What errors weigh in types with minima: more where the weight is large, as in llama.cpp. */
function weighRanged(importance: Float32Array | undefined, column: number): void {
  if (importance) {
    const spread = 2 * meanSquare({ start: 0, end: K_BLOCK });
    const weightOf = (i: number) => importance[column + i] * Math.sqrt(spread + x[i] * x[i]);
    weigh(RUNS_OF_32, weightOf, LEAST_SHARE);
    return;
  }
  for (const run of RUNS_OF_32) {
    const usual = Math.sqrt(meanSquare(run));
    weigh([run], (i) => usual + Math.abs(x[i]));
  }
}

/** Values of a run are scale * code - minimum. */
interface Fit {
  readonly scale: number;
  readonly minimum: number;
}

/** Scale and minimum of a run, before they are rounded; the minimum is not negative. */
function fitRanged({ start, end }: Span, most: number): Fit {
  let [low, high] = [0, x[start]];
  let [sw, sx, sxx] = [0, 0, 0];
  for (let i = start; i < end; i++) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
    sw += omega[i];
    sx += omega[i] * x[i];
    sxx += omega[i] * x[i] * x[i];
  }
  let best: Fit = { scale: 0, minimum: -low };
  if (!(high > low)) return best;
  let least = Number.POSITIVE_INFINITY;
  for (let step = -4; step <= 16; step++) {
    const inverse = (most + 0.2 * step) / (high - low);
    let [sl, sll, sxl] = [0, 0, 0];
    for (let i = start; i < end; i++) {
      const code = Math.min(most, Math.floor(inverse * (x[i] - low) + 0.5));
      const weighed = omega[i] * code;
      sl += weighed;
      sll += weighed * code;
      sxl += weighed * x[i];
    }
    const determinant = sw * sll - sl * sl;
    if (!(determinant > 0)) continue;
    let scale = (sw * sxl - sx * sl) / determinant;
    let offset = (sll * sx - sl * sxl) / determinant;
    if (offset > 0) [scale, offset] = [sxl / sll, 0];
    const error = sxx - scale * sxl - offset * sx;
    if (!(error < least) || !(scale > 0)) continue;
    least = error;
    best = { scale, minimum: -offset };
  }
  return best;
}

/** The weighed squared error of a run whose codes are the nearest ones. */
function errorOf({ start, end }: Span, { scale, minimum }: Fit, least: number, most: number) {
  const inverse = scale === 0 ? 0 : 1 / scale;
  let sum = 0;
  for (let i = start; i < end; i++) {
    const code = within((x[i] + minimum) * inverse, least, most);
    const gap = scale * code - minimum - x[i];
    sum += omega[i] * gap * gap;
  }
  return sum;
}

/** A whole number and its neighbours within a range, itself first. */
function around(level: number, least: number, most: number): number[] {
  return [level, level - 1, level + 1].filter((one) => one >= least && one <= most);
}

/** Scales and minima of a block's runs as whole numbers. */
const scales = new Uint8Array(RUNS_OF_32.length);
const minima = new Uint8Array(RUNS_OF_32.length);
/** The scales where there are no minima. */
const signedScales = new Int8Array(RUNS_OF_16.length);

/** Codes of a block, its scales and minima; writes the halves that these are multiples of. */
function encodeRanged(bytes: Uint8Array, to: number, most: number): void {
  const fits = RUNS_OF_32.map((run) => fitRanged(run, most));
  const d = nearestHalf(Math.max(...fits.map(({ scale }) => scale)) / MOST_SCALE);
  const dmin = nearestHalf(Math.max(...fits.map(({ minimum }) => minimum)) / MOST_SCALE);
  writeHalf(bytes, to, d);
  writeHalf(bytes, to + 2, dmin);
  const levelOf = (value: number, unit: number) =>
    unit === 0 ? 0 : within(value / unit, 0, MOST_SCALE);
  for (const [r, run] of RUNS_OF_32.entries()) {
    let least = Number.POSITIVE_INFINITY;
    for (const scale of around(levelOf(fits[r].scale, d), 0, MOST_SCALE)) {
      for (const minimum of around(levelOf(fits[r].minimum, dmin), 0, MOST_SCALE)) {
        const error = errorOf(run, { scale: d * scale, minimum: dmin * minimum }, 0, most);
        if (!(error < least)) continue;
        least = error;
        [scales[r], minima[r]] = [scale, minimum];
      }
    }
    const inverse = scales[r] * d === 0 ? 0 : 1 / (scales[r] * d);
    for (let i = run.start; i < run.end; i++) {
      codes[i] = within((x[i] + dmin * minima[r]) * inverse, 0, most);
    }
  }
}

/** Eight scales and minima of 6 bits in 12 bytes. */
function writeScales(bytes: Uint8Array, at: number): void {
  for (let j = 0; j < 4; j++) {
    bytes[at + j] = scales[j] | ((scales[j + 4] >> 4) << 6);
    bytes[at + 4 + j] = minima[j] | ((minima[j + 4] >> 4) << 6);
    bytes[at + 8 + j] = (scales[j + 4] & 15) | ((minima[j + 4] & 15) << 4);
  }
}

/** The low 4 bits of the codes: two runs in the same 32 bytes. */
function writeLow(bytes: Uint8Array, at: number): void {
  for (let pair = 0; pair < 4; pair++) {
    for (let l = 0; l < 32; l++) {
      const [one, other] = [codes[64 * pair + l], codes[64 * pair + 32 + l]];
      bytes[at + 32 * pair + l] = (one & 15) | ((other & 15) << 4);
    }
  }
}

/** The fifth bits of the codes: bit r of byte l is that of weight l of run r. */
function writeFifths(bytes: Uint8Array, at: number): void {
  for (let l = 0; l < 32; l++) {
    let bits = 0;
    for (let run = 0; run < 8; run++) bits |= (codes[32 * run + l] >> 4) << run;
    bytes[at + l] = bits;
  }
}

/** The scale of a run of a grid around 0, before it is rounded; it may be negative. */
function fitSigned({ start, end }: Span): number {
  let extreme = 0;
  for (let i = start; i < end; i++) if (Math.abs(x[i]) > Math.abs(extreme)) extreme = x[i];
  if (extreme === 0) return 0;
  let [best, most] = [0, 0];
  for (let step = -9; step <= 9; step++) {
    const inverse = -(32 + 0.1 * step) / extreme;
    let [sll, sxl] = [0, 0];
    for (let i = start; i < end; i++) {
      const code = within(inverse * x[i], -32, 31);
      sll += omega[i] * code * code;
      sxl += omega[i] * code * x[i];
    }
    // What the fitted scale takes off the error.
    if (!(sll > 0 && sxl * sxl > most * sll)) continue;
    most = (sxl * sxl) / sll;
    best = sxl / sll;
  }
  return best;
}

/** Codes of a block of Q6_K and its scales; writes the half that these are multiples of. */
function encodeSigned(bytes: Uint8Array, to: number): void {
  const fits = RUNS_OF_16.map(fitSigned);
  const largest = fits.reduce((one, fit) => (Math.abs(fit) > Math.abs(one) ? fit : one), 0);
  // The largest becomes -128, of which there is no positive.
  const d = nearestHalf(-largest / 128);
  writeHalf(bytes, to + 208, d);
  for (const [r, run] of RUNS_OF_16.entries()) {
    let least = Number.POSITIVE_INFINITY;
    let chosen = 0;
    const level = d === 0 ? 0 : within(fits[r] / d, -128, 127);
    for (const scale of around(level, -128, 127)) {
      const error = errorOf(run, { scale: d * scale, minimum: 0 }, -32, 31);
      if (!(error < least)) continue;
      least = error;
      chosen = scale;
    }
    signedScales[r] = chosen;
    const inverse = d * chosen === 0 ? 0 : 1 / (d * chosen);
    for (let i = run.start; i < run.end; i++) codes[i] = within(x[i] * inverse, -32, 31) + 32;
  }
}

/** The codes of Q6_K: of each half's four quarters 4 bits in 64 bytes, and 2 more in 32. */
function writeSix(bytes: Uint8Array, to: number): void {
  for (let half = 0; half < 2; half++) {
    const [low, high] = [to + 64 * half, to + 128 + 32 * half];
    for (let l = 0; l < 32; l++) {
      const [a, b, c, d] = [0, 32, 64, 96].map((quarter) => codes[128 * half + quarter + l]);
      bytes[low + l] = (a & 15) | ((c & 15) << 4);
      bytes[low + 32 + l] = (b & 15) | ((d & 15) << 4);
      bytes[high + l] = (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((d >> 4) << 6);
    }
  }
}

/** Writes the scales and codes of a block behind its halves, and those of Q6_K before its half. */
const WRITERS: Readonly<Record<KTypeName, (bytes: Uint8Array, to: number) => void>> = {
  Q4_K(bytes, to) {
    writeScales(bytes, to + 4);
    writeLow(bytes, to + 16);
  },
  Q5_K(bytes, to) {
    writeScales(bytes, to + 4);
    writeFifths(bytes, to + 16);
    writeLow(bytes, to + 48);
  },
  Q6_K(bytes, to) {
    for (const [r, scale] of signedScales.entries()) bytes[to + 192 + r] = scale;
    writeSix(bytes, to);
  },
};

/** A block as a quantizer made it, scales and minima as multiples of the halves d and dmin. */
export interface MadeBlock {
  readonly d: number;
  readonly scales: ArrayLike<number>;
  /** Of types with minima. */
  readonly dmin?: number | undefined;
  readonly minima?: ArrayLike<number> | undefined;
  readonly codes: Uint8Array;
}

/** Writes a block that is made already. */
export function writeBlock(
  type: KTypeName,
  bytes: Uint8Array,
  to: number,
  { d, dmin, ...made }: MadeBlock,
): void {
  codes.set(made.codes);
  writeHalf(bytes, type === "Q6_K" ? to + 208 : to, d);
  if (dmin !== undefined && made.minima) {
    writeHalf(bytes, to + 2, dmin);
    scales.set(made.scales);
    minima.set(made.minima);
  } else signedScales.set(made.scales);
  WRITERS[type](bytes, to);
}

/** Calls for each block with its place among the bytes, its values and their weights being taken. */
function eachBlock(
  values: Float32Array,
  size: number,
  importance: Float32Array | undefined,
  weighBlock: (importance: Float32Array | undefined, column: number) => void,
  encode: (to: number) => void,
): void {
  for (let at = 0, to = 0; at < values.length; at += K_BLOCK, to += size) {
    take(values, at);
    weighBlock(importance, importance ? at % importance.length : 0);
    encode(to);
  }
}

/** The quantizers by the names of types; each takes whole blocks of 256 values. */
export const K_ENCODERS: Readonly<Record<string, EncodeKBlocks>> = {
  Q4_K(values, bytes, importance) {
    eachBlock(values, 144, importance, weighRanged, (to) => {
      encodeRanged(bytes, to, 15);
      WRITERS.Q4_K(bytes, to);
    });
  },
  Q5_K(values, bytes, importance) {
    eachBlock(values, 176, importance, weighRanged, (to) => {
      encodeRanged(bytes, to, 31);
      WRITERS.Q5_K(bytes, to);
    });
  },
  Q6_K(values, bytes, importance) {
    const weighSigned = (given: Float32Array | undefined, column: number) => {
      if (given) weigh(RUNS_OF_16, (i) => given[column + i], LEAST_SHARE);
      else weigh(RUNS_OF_16, (i) => x[i] * x[i]);
    };
    eachBlock(values, 210, importance, weighSigned, (to) => {
      encodeSigned(bytes, to);
      WRITERS.Q6_K(bytes, to);
    });
  },
};
