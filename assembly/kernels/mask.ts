// Scores and masks. A mask is one byte per weight, 1 = kept. N:4 selection ranks four groups at
// once: after a 4x4 transpose a vector holds one column of four groups, and the four answers of a
// group become the four bytes of one lane.

import { dropBits, numberOrInfinity } from "../lib/select";

/**
 * out [rows, cols] = |w| * columnScale * rowScale, rounded after each factor.
 *
 * @param columnScale f32 [cols], or 0 for none
 * @param rowScale f32 [rows], or 0 for none
 */
export function maskScaledMagnitude(
  rows: i32,
  cols: i32,
  w: usize,
  out: usize,
  columnScale: usize,
  rowScale: usize,
): void {
  for (let r = 0; r < rows; r++) {
    const rowFactor = rowScale ? load<f32>(rowScale + (<usize>r << 2)) : 1;
    const factor = f32x4.splat(rowFactor);
    let column = columnScale;
    let j = cols;
    for (; j >= 4; j -= 4) {
      let score = f32x4.abs(v128.load(w));
      if (columnScale) {
        score = f32x4.mul(score, v128.load(column));
        column += 16;
      }
      v128.store(out, f32x4.mul(score, factor));
      w += 16;
      out += 16;
    }
    for (; j > 0; j--) {
      let score = abs<f32>(load<f32>(w));
      if (columnScale) {
        score *= load<f32>(column);
        column += 4;
      }
      store<f32>(out, score * rowFactor);
      w += 4;
      out += 4;
    }
  }
}

/** mask u8 = 0 for the `drop` smallest of every `m` scores, 1 for the others. */
export function maskNofM(groups: usize, m: i32, drop: i32, scores: usize, mask: usize): void {
  if (m == 4) {
    const fours = groups >> 2;
    maskNofFour(fours, drop, scores, mask);
    groups &= 3;
    scores += fours << 6;
    mask += fours << 4;
  }
  for (; groups > 0; groups--) {
    const bits = dropBits(scores, m, drop);
    for (let i = 0; i < m; i++) store<u8>(mask + <usize>i, ((bits >> i) & 1) ^ 1);
    scores += <usize>m << 2;
    mask += <usize>m;
  }
}

/** maskNofM for m = 4, four groups at a time. */
function maskNofFour(fours: usize, drop: i32, scores: usize, mask: usize): void {
  const least = i32x4.splat(drop);
  const one = i32x4.splat(1);
  const two = i32x4.splat(2);
  const three = i32x4.splat(3);
  for (; fours > 0; fours--) {
    const g0 = numberOrInfinity(v128.load(scores));
    const g1 = numberOrInfinity(v128.load(scores, 16));
    const g2 = numberOrInfinity(v128.load(scores, 32));
    const g3 = numberOrInfinity(v128.load(scores, 48));
    const low01 = v128.shuffle<f32>(g0, g1, 0, 4, 1, 5);
    const low23 = v128.shuffle<f32>(g2, g3, 0, 4, 1, 5);
    const high01 = v128.shuffle<f32>(g0, g1, 2, 6, 3, 7);
    const high23 = v128.shuffle<f32>(g2, g3, 2, 6, 3, 7);
    const s0 = v128.shuffle<f64>(low01, low23, 0, 2);
    const s1 = v128.shuffle<f64>(low01, low23, 1, 3);
    const s2 = v128.shuffle<f64>(high01, high23, 0, 2);
    const s3 = v128.shuffle<f64>(high01, high23, 1, 3);
    // A true comparison is -1 in its lane; a rank counts the scores that go before.
    const le01 = f32x4.le(s0, s1);
    const le02 = f32x4.le(s0, s2);
    const le03 = f32x4.le(s0, s3);
    const le12 = f32x4.le(s1, s2);
    const le13 = f32x4.le(s1, s3);
    const le23 = f32x4.le(s2, s3);
    const rank0 = i32x4.add(three, i32x4.add(le01, i32x4.add(le02, le03)));
    const rank1 = i32x4.add(two, i32x4.sub(i32x4.add(le12, le13), le01));
    const rank2 = i32x4.add(one, i32x4.sub(le23, i32x4.add(le02, le12)));
    const rank3 = i32x4.neg(i32x4.add(le03, i32x4.add(le13, le23)));
    const keep0 = v128.and(i32x4.ge_s(rank0, least), one);
    const keep1 = v128.and(i32x4.ge_s(rank1, least), one);
    const keep2 = v128.and(i32x4.ge_s(rank2, least), one);
    const keep3 = v128.and(i32x4.ge_s(rank3, least), one);
    const low = v128.or(keep0, i32x4.shl(keep1, 8));
    const high = v128.or(i32x4.shl(keep2, 16), i32x4.shl(keep3, 24));
    v128.store(mask, v128.or(low, high));
    scores += 64;
    mask += 16;
  }
}

/** w [size] = 0 where mask is 0, whatever w holds there. */
export function maskApply(size: usize, w: usize, mask: usize): void {
  const zero = i32x4.splat(0);
  for (; size >= 16; size -= 16) {
    const drop = i8x16.eq(v128.load(mask), zero);
    const low = i16x8.extend_low_i8x16_s(drop);
    const high = i16x8.extend_high_i8x16_s(drop);
    v128.store(w, v128.andnot(v128.load(w), i32x4.extend_low_i16x8_s(low)));
    v128.store(w, v128.andnot(v128.load(w, 16), i32x4.extend_high_i16x8_s(low)), 16);
    v128.store(w, v128.andnot(v128.load(w, 32), i32x4.extend_low_i16x8_s(high)), 32);
    v128.store(w, v128.andnot(v128.load(w, 48), i32x4.extend_high_i16x8_s(high)), 48);
    w += 64;
    mask += 16;
  }
  for (; size > 0; size--) {
    if (load<u8>(mask) == 0) store<f32>(w, 0);
    w += 4;
    mask += 1;
  }
}
