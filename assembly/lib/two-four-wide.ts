// The inner loop of 2:4 products with panels of 48 tokens (see two-four-broadcast.ts) for fused
// multiply-adds in engines that leave loads where they stand: twelve sums cover the latency, and what it
// takes to find a column is shared by twelve products.

import { madd } from "./simd";

/**
 * Address of a table of four u16 for each code byte, the bytes before the columns of its four values: behind
 * the table of lib/two-four-swizzle.ts.
 */
const COLUMNS: usize = 0x81000;

/** Writes the table; call once. */
export function fillColumns(): void {
  for (let code = 0; code < 256; code++) {
    for (let value = 0; value < 4; value++) {
      store<u16>(COLUMNS + <usize>(code * 8 + value * 2), ((code >> (2 * value)) & 3) * 192);
    }
  }
}

/**
 * Adds one row's products with `groups` groups, an even number above 0, of columns of 48 tokens to
 * [48] sums, or overwrites them.
 *
 * The branches are always taken: without them V8 does all products of a sum one after the other, for which
 * they wait, and keeps some sums in memory.
 *
 * @param row of the pair, 0 or 1
 */
export function rowByFortyEight(
  row: usize,
  x: usize,
  codes: usize,
  values: usize,
  groups: i32,
  sums: usize,
  overwrite: bool,
): void {
  const columns = COLUMNS + 4 * row;
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let a4 = f32x4.splat(0);
  let a5 = f32x4.splat(0);
  let a6 = f32x4.splat(0);
  let a7 = f32x4.splat(0);
  let a8 = f32x4.splat(0);
  let a9 = f32x4.splat(0);
  let a10 = f32x4.splat(0);
  let a11 = f32x4.splat(0);
  do {
    let column = columns + (<usize>load<u8>(codes) << 3);
    let w = v128.load32_splat(values);
    let from = x + <usize>load<u16>(column);
    a0 = madd(w, v128.load(from), a0);
    a1 = madd(w, v128.load(from, 16), a1);
    a2 = madd(w, v128.load(from, 32), a2);
    a3 = madd(w, v128.load(from, 48), a3);
    a4 = madd(w, v128.load(from, 64), a4);
    a5 = madd(w, v128.load(from, 80), a5);
    a6 = madd(w, v128.load(from, 96), a6);
    a7 = madd(w, v128.load(from, 112), a7);
    a8 = madd(w, v128.load(from, 128), a8);
    a9 = madd(w, v128.load(from, 144), a9);
    a10 = madd(w, v128.load(from, 160), a10);
    a11 = madd(w, v128.load(from, 176), a11);
    if (x > 1) {
      w = v128.load32_splat(values, 4);
      from = x + <usize>load<u16>(column, 2);
      a0 = madd(w, v128.load(from), a0);
      a1 = madd(w, v128.load(from, 16), a1);
      a2 = madd(w, v128.load(from, 32), a2);
      a3 = madd(w, v128.load(from, 48), a3);
      a4 = madd(w, v128.load(from, 64), a4);
      a5 = madd(w, v128.load(from, 80), a5);
      a6 = madd(w, v128.load(from, 96), a6);
      a7 = madd(w, v128.load(from, 112), a7);
      a8 = madd(w, v128.load(from, 128), a8);
      a9 = madd(w, v128.load(from, 144), a9);
      a10 = madd(w, v128.load(from, 160), a10);
      a11 = madd(w, v128.load(from, 176), a11);
      if (codes > 1) {
        column = columns + (<usize>load<u8>(codes, 68) << 3);
        w = v128.load32_splat(values, 68);
        from = x + <usize>load<u16>(column);
        a0 = madd(w, v128.load(from, 768), a0);
        a1 = madd(w, v128.load(from, 784), a1);
        a2 = madd(w, v128.load(from, 800), a2);
        a3 = madd(w, v128.load(from, 816), a3);
        a4 = madd(w, v128.load(from, 832), a4);
        a5 = madd(w, v128.load(from, 848), a5);
        a6 = madd(w, v128.load(from, 864), a6);
        a7 = madd(w, v128.load(from, 880), a7);
        a8 = madd(w, v128.load(from, 896), a8);
        a9 = madd(w, v128.load(from, 912), a9);
        a10 = madd(w, v128.load(from, 928), a10);
        a11 = madd(w, v128.load(from, 944), a11);
        if (x > 2) {
          w = v128.load32_splat(values, 72);
          from = x + <usize>load<u16>(column, 2);
          a0 = madd(w, v128.load(from, 768), a0);
          a1 = madd(w, v128.load(from, 784), a1);
          a2 = madd(w, v128.load(from, 800), a2);
          a3 = madd(w, v128.load(from, 816), a3);
          a4 = madd(w, v128.load(from, 832), a4);
          a5 = madd(w, v128.load(from, 848), a5);
          a6 = madd(w, v128.load(from, 864), a6);
          a7 = madd(w, v128.load(from, 880), a7);
          a8 = madd(w, v128.load(from, 896), a8);
          a9 = madd(w, v128.load(from, 912), a9);
          a10 = madd(w, v128.load(from, 928), a10);
          a11 = madd(w, v128.load(from, 944), a11);
        }
      }
    }
    x += 1536;
    codes += 136;
    values += 136;
    groups -= 2;
  } while (groups);
  if (!overwrite) {
    a0 = f32x4.add(v128.load(sums), a0);
    a1 = f32x4.add(v128.load(sums, 16), a1);
    a2 = f32x4.add(v128.load(sums, 32), a2);
    a3 = f32x4.add(v128.load(sums, 48), a3);
    a4 = f32x4.add(v128.load(sums, 64), a4);
    a5 = f32x4.add(v128.load(sums, 80), a5);
    a6 = f32x4.add(v128.load(sums, 96), a6);
    a7 = f32x4.add(v128.load(sums, 112), a7);
    a8 = f32x4.add(v128.load(sums, 128), a8);
    a9 = f32x4.add(v128.load(sums, 144), a9);
    a10 = f32x4.add(v128.load(sums, 160), a10);
    a11 = f32x4.add(v128.load(sums, 176), a11);
  }
  v128.store(sums, a0);
  v128.store(sums, a1, 16);
  v128.store(sums, a2, 32);
  v128.store(sums, a3, 48);
  v128.store(sums, a4, 64);
  v128.store(sums, a5, 80);
  v128.store(sums, a6, 96);
  v128.store(sums, a7, 112);
  v128.store(sums, a8, 128);
  v128.store(sums, a9, 144);
  v128.store(sums, a10, 160);
  v128.store(sums, a11, 176);
}
