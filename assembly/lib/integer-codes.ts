// Codes on a grid in the panels that products with int8 activations read (lib/integer-panel.ts), of 8, 4, 3, 2
// or 1 bits.

import {
  BF16_SCALES,
  codesOf,
  evenZero,
  F16_SCALES,
  F32_SCALES,
  headerBytes,
  headerOf,
  panelBytes,
  panelRunBytes,
  putCode,
  scalesAt,
  takeCode,
  zerosAt,
} from "./integer-panel";
import { RUN_COLUMNS, runsOf } from "./integer-run";

/** Bytes of W [rows, cols] in panels. */
export function integerBytes(
  bits: i32,
  rows: i32,
  cols: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  scaleType: i32,
): usize {
  const panels = <usize>((rows + 3) >> 2);
  return panels * panelBytes(bits, runsOf(cols), runsAGroup, isSymmetric, scaleType);
}

/** What scales f32 [count] can be held as without a change. */
export function integerScaleType(scales: usize, count: i32): i32 {
  let isF16 = true;
  let isBf16 = true;
  for (let i = 0; i < count; i++) {
    const scale = load<u32>(scales + (<usize>i << 2));
    const exponent = (scale >> 23) & 255;
    isBf16 = isBf16 && (scale & 0xffff) == 0;
    // Normal numbers of f16, or 0.
    const isNormal = exponent >= 113 && exponent <= 142 && (scale & 0x1fff) == 0;
    isF16 = isF16 && (isNormal || scale << 1 == 0);
    if (!isF16 && !isBf16) return F32_SCALES;
  }
  return isBf16 ? BF16_SCALES : F16_SCALES;
}

/** Puts a scale into its lane of a header. */
function putScale(header: usize, lane: i32, scale: u32, scaleType: i32): void {
  if (scaleType == F32_SCALES) {
    store<u32>(header + (<usize>lane << 2), scale);
    return;
  }
  let half = scale >> 16;
  if (scaleType == F16_SCALES) {
    const sign = (scale >> 16) & 0x8000;
    half = scale << 1 == 0 ? sign : sign | (((scale & 0x7fffffff) - (112 << 23)) >> 13);
  }
  store<u16>(header + (<usize>lane << 1), <u16>half);
}

/**
 * Fills W's panels.
 *
 * @param codes u8 [rows, cols]
 * @param scales f32 [rows, groups]
 * @param zeros u8 [rows, groups], of grids that are not symmetric
 * @param offset what is taken from codes and zero points
 */
export function integerPrepare(
  bits: i32,
  codes: usize,
  scales: usize,
  zeros: usize,
  offset: i32,
  rows: i32,
  cols: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  scaleType: i32,
  w: usize,
): void {
  const runs = runsOf(cols);
  const groups = (runs + runsAGroup - 1) / runsAGroup;
  const step = panelBytes(bits, runs, runsAGroup, isSymmetric, scaleType);
  memory.fill(w, 0, integerBytes(bits, rows, cols, runsAGroup, isSymmetric, scaleType));
  for (let row = 0; row < rows; row++) {
    const panel = w + <usize>(row >> 2) * step;
    const lane = row & 3;
    for (let run = 0; run < runs; run++) {
      const to = panel + codesOf(bits, run, runsAGroup, isSymmetric, scaleType);
      if (run % runsAGroup == 0) {
        const header = panel + headerOf(bits, run, runsAGroup, isSymmetric, scaleType);
        const group = <usize>(row * groups + run / runsAGroup);
        putScale(header, lane, load<u32>(scales + (group << 2)), scaleType);
        // Zero points are the last of a header.
        if (!isSymmetric) store<u8>(to - 4 + <usize>lane, load<u8>(zeros + group) - <u8>offset);
      }
      const count = min(RUN_COLUMNS, cols - run * RUN_COLUMNS);
      for (let col = 0; col < count; col++) {
        putCode(bits, to, lane, col, (<i32>load<u8>(codes) - offset) & 255);
        codes++;
      }
    }
  }
}

/** Row `row` of W as f32, in to [cols]. */
export function integerRow(
  bits: i32,
  w: usize,
  row: i32,
  cols: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  scaleType: i32,
  to: usize,
  scratch: usize,
): void {
  const runs = runsOf(cols);
  const panel = w + <usize>(row >> 2) * panelBytes(bits, runs, runsAGroup, isSymmetric, scaleType);
  const lane = row & 3;
  for (let run = 0; run < runs; run++) {
    const header = panel + headerOf(bits, run, runsAGroup, isSymmetric, scaleType);
    v128.store(scratch, scalesAt(header, scaleType));
    const zeros = isSymmetric ? i32x4.splat(evenZero(bits)) : zerosAt(header, scaleType);
    v128.store(scratch, zeros, 16);
    const at = scratch + (<usize>lane << 2);
    const scale = load<f32>(at);
    const zero = load<i32>(at, 16);
    const codes = panel + codesOf(bits, run, runsAGroup, isSymmetric, scaleType);
    const count = min(RUN_COLUMNS, cols - run * RUN_COLUMNS);
    for (let col = 0; col < count; col++) {
      store<f32>(to, <f32>(takeCode(bits, codes, lane, col) - zero) * scale);
      to += 4;
    }
  }
}

/**
 * The panel at `from` as one of 4 bits with the same codes, scales and zero points, for kernels of several
 * tokens, which have none of fewer bits.
 *
 * @param bits 1 to 3
 */
export function integerWiden(
  bits: i32,
  from: usize,
  runs: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  scaleType: i32,
  to: usize,
): void {
  const header = headerBytes(scaleType, isSymmetric);
  for (let run = 0; run < runs; run++) {
    if (run % runsAGroup == 0) {
      memory.copy(to, from, header);
      from += header;
      to += header;
    }
    for (let quad = 0; quad < 8; quad += 2) {
      const high = i8x16.shl(quadOf(bits, from, quad + 1), 4);
      v128.store(to, v128.or(quadOf(bits, from, quad), high));
      to += 16;
    }
    from += panelRunBytes(bits);
  }
}

/** A quad's codes of a panel's run, a byte each. */
// @ts-ignore: decorator
@inline
function quadOf(bits: i32, codes: usize, quad: i32): v128 {
  if (bits == 3) return v128.or(planeOf(2, codes, quad), i8x16.shl(planeOf(1, codes + 32, quad), 2));
  return planeOf(bits, codes, quad);
}

// @ts-ignore: decorator
@inline
function planeOf(bits: i32, codes: usize, quad: i32): v128 {
  const quads = 8 / bits;
  const vector = v128.load(codes + (<usize>(quad / quads) << 4));
  return v128.and(i8x16.shr_u(vector, bits * (quad % quads)), i8x16.splat(<i8>(<u32>(1 << bits) - 1)));
}
