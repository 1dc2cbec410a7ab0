// The inner loops of lib/two-four-broadcast.ts for fewer tokens and more rows at a time: as many sums
// stay in registers, and more weights share the loop.

import { madd } from "./simd";
import { apart, column } from "./two-four-broadcast";

/** rowByThirtyTwo for both rows of a pair and columns of 16 tokens: [2, 16] sums. */
export function pairBySixteen<A>(
  x: usize,
  codes: usize,
  values: usize,
  groups: i32,
  sums: usize,
  overwrite: bool,
): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  do {
    const code = <u32>load<u8>(codes);
    let w: v128;
    let from: usize;
    w = v128.load32_splat(values);
    from = x + column<u8>(code, 6, 0);
    a0 = madd(w, v128.load(from), a0);
    a1 = madd(w, v128.load(from, 16), a1);
    a2 = madd(w, v128.load(from, 32), a2);
    a3 = madd(w, v128.load(from, 48), a3);
    if (apart<A>(x > 1)) {
      w = v128.load32_splat(values, 4);
      from = x + column<u8>(code, 6, 1);
      a0 = madd(w, v128.load(from), a0);
      a1 = madd(w, v128.load(from, 16), a1);
      a2 = madd(w, v128.load(from, 32), a2);
      a3 = madd(w, v128.load(from, 48), a3);
      if (apart<A>(x > 2)) {
        w = v128.load32_splat(values, 8);
        from = x + column<i8>(code, 6, 0);
        b0 = madd(w, v128.load(from), b0);
        b1 = madd(w, v128.load(from, 16), b1);
        b2 = madd(w, v128.load(from, 32), b2);
        b3 = madd(w, v128.load(from, 48), b3);
        if (apart<A>(x > 3)) {
          w = v128.load32_splat(values, 12);
          from = x + column<i8>(code, 6, 1);
          b0 = madd(w, v128.load(from), b0);
          b1 = madd(w, v128.load(from, 16), b1);
          b2 = madd(w, v128.load(from, 32), b2);
          b3 = madd(w, v128.load(from, 48), b3);
        }
      }
    }
    x += 256;
    codes += 68;
    values += 68;
    groups--;
  } while (groups);
  if (!overwrite) {
    a0 = f32x4.add(v128.load(sums), a0);
    a1 = f32x4.add(v128.load(sums, 16), a1);
    a2 = f32x4.add(v128.load(sums, 32), a2);
    a3 = f32x4.add(v128.load(sums, 48), a3);
    b0 = f32x4.add(v128.load(sums, 64), b0);
    b1 = f32x4.add(v128.load(sums, 80), b1);
    b2 = f32x4.add(v128.load(sums, 96), b2);
    b3 = f32x4.add(v128.load(sums, 112), b3);
  }
  v128.store(sums, a0);
  v128.store(sums, a1, 16);
  v128.store(sums, a2, 32);
  v128.store(sums, a3, 48);
  v128.store(sums, b0, 64);
  v128.store(sums, b1, 80);
  v128.store(sums, b2, 96);
  v128.store(sums, b3, 112);
}

/** rowByThirtyTwo for the rows of two pairs and columns of 8 tokens: [4, 8] sums. */
export function pairsByEight<A>(
  x: usize,
  codes: usize,
  values: usize,
  groups: i32,
  sums: usize,
  overwrite: bool,
): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let d0 = f32x4.splat(0);
  let d1 = f32x4.splat(0);
  do {
    const code = <u32>load<u8>(codes);
    const next = <u32>load<u8>(codes, 1);
    let w: v128;
    let from: usize;
    w = v128.load32_splat(values);
    from = x + column<u8>(code, 5, 0);
    a0 = madd(w, v128.load(from), a0);
    a1 = madd(w, v128.load(from, 16), a1);
    w = v128.load32_splat(values, 4);
    from = x + column<u8>(code, 5, 1);
    a0 = madd(w, v128.load(from), a0);
    a1 = madd(w, v128.load(from, 16), a1);
    if (apart<A>(x > 1)) {
      w = v128.load32_splat(values, 8);
      from = x + column<i8>(code, 5, 0);
      b0 = madd(w, v128.load(from), b0);
      b1 = madd(w, v128.load(from, 16), b1);
      w = v128.load32_splat(values, 12);
      from = x + column<i8>(code, 5, 1);
      b0 = madd(w, v128.load(from), b0);
      b1 = madd(w, v128.load(from, 16), b1);
      if (apart<A>(x > 2)) {
        w = v128.load32_splat(values, 16);
        from = x + column<u8>(next, 5, 0);
        c0 = madd(w, v128.load(from), c0);
        c1 = madd(w, v128.load(from, 16), c1);
        w = v128.load32_splat(values, 20);
        from = x + column<u8>(next, 5, 1);
        c0 = madd(w, v128.load(from), c0);
        c1 = madd(w, v128.load(from, 16), c1);
        if (apart<A>(x > 3)) {
          w = v128.load32_splat(values, 24);
          from = x + column<i8>(next, 5, 0);
          d0 = madd(w, v128.load(from), d0);
          d1 = madd(w, v128.load(from, 16), d1);
          w = v128.load32_splat(values, 28);
          from = x + column<i8>(next, 5, 1);
          d0 = madd(w, v128.load(from), d0);
          d1 = madd(w, v128.load(from, 16), d1);
        }
      }
    }
    x += 128;
    codes += 68;
    values += 68;
    groups--;
  } while (groups);
  if (!overwrite) {
    a0 = f32x4.add(v128.load(sums), a0);
    a1 = f32x4.add(v128.load(sums, 16), a1);
    b0 = f32x4.add(v128.load(sums, 32), b0);
    b1 = f32x4.add(v128.load(sums, 48), b1);
    c0 = f32x4.add(v128.load(sums, 64), c0);
    c1 = f32x4.add(v128.load(sums, 80), c1);
    d0 = f32x4.add(v128.load(sums, 96), d0);
    d1 = f32x4.add(v128.load(sums, 112), d1);
  }
  v128.store(sums, a0);
  v128.store(sums, a1, 16);
  v128.store(sums, b0, 32);
  v128.store(sums, b1, 48);
  v128.store(sums, c0, 64);
  v128.store(sums, c1, 80);
  v128.store(sums, d0, 96);
  v128.store(sums, d1, 112);
}
