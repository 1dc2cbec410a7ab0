// The inner loops of 2:4 products for many tokens. Activations lie in panels that are column-major:
// a column's 8, 16 or 32 activations stand together, and each kept weight is multiplied with the
// column that its code names. Weights are f32 in the form of lib/two-four-form.ts; `codes` is the
// address of a pair's code in the first group, `values` that of a row's or pair's values.
//
// V8 before 13 moves all loads of a straight stretch of code to its top, and so many do not fit into
// registers. For such an engine a loop's steps stand in branches that are always taken: A is i32. Where
// A is f32 they stand in a row.

import { madd } from "./simd";

/** A condition that holds always: what follows is a stretch of code of its own where A is i32. */
// @ts-ignore: decorator
@inline
export function apart<A>(holds: bool): bool {
  return isInteger<A>() ? holds : true;
}

/** Bytes before the column of a slot, columns being 2^width bytes. T as in rowByThirtyTwo. */
// @ts-ignore: decorator
@inline
export function column<T>(code: u32, width: i32, slot: i32): usize {
  const place = isSigned<T>() ? 4 + 2 * slot : 2 * slot;
  return <usize>((place > width ? code >> (place - width) : code << (width - place)) & (3 << width));
}

/**
 * Adds one row's products with `groups` groups, an even number above 0, of columns of 32 tokens to
 * [32] sums, or overwrites them. T is u8 for the first row of a pair, i8 for the second.
 */
export function rowByThirtyTwo<T, A>(
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
  let a4 = f32x4.splat(0);
  let a5 = f32x4.splat(0);
  let a6 = f32x4.splat(0);
  let a7 = f32x4.splat(0);
  do {
    let code = <u32>load<u8>(codes);
    let w = v128.load32_splat(values);
    let from = x + column<T>(code, 7, 0);
    a0 = madd(w, v128.load(from), a0);
    a1 = madd(w, v128.load(from, 16), a1);
    a2 = madd(w, v128.load(from, 32), a2);
    a3 = madd(w, v128.load(from, 48), a3);
    if (apart<A>(x > 1)) {
      a4 = madd(w, v128.load(from, 64), a4);
      a5 = madd(w, v128.load(from, 80), a5);
      a6 = madd(w, v128.load(from, 96), a6);
      a7 = madd(w, v128.load(from, 112), a7);
      if (apart<A>(codes > 1)) {
        w = v128.load32_splat(values, 4);
        from = x + column<T>(code, 7, 1);
        a0 = madd(w, v128.load(from), a0);
        a1 = madd(w, v128.load(from, 16), a1);
        a2 = madd(w, v128.load(from, 32), a2);
        a3 = madd(w, v128.load(from, 48), a3);
        if (apart<A>(x > 2)) {
          a4 = madd(w, v128.load(from, 64), a4);
          a5 = madd(w, v128.load(from, 80), a5);
          a6 = madd(w, v128.load(from, 96), a6);
          a7 = madd(w, v128.load(from, 112), a7);
          if (apart<A>(codes > 2)) {
            code = <u32>load<u8>(codes, 68);
            w = v128.load32_splat(values, 68);
            from = x + column<T>(code, 7, 0);
            a0 = madd(w, v128.load(from, 512), a0);
            a1 = madd(w, v128.load(from, 528), a1);
            a2 = madd(w, v128.load(from, 544), a2);
            a3 = madd(w, v128.load(from, 560), a3);
            if (apart<A>(x > 3)) {
              a4 = madd(w, v128.load(from, 576), a4);
              a5 = madd(w, v128.load(from, 592), a5);
              a6 = madd(w, v128.load(from, 608), a6);
              a7 = madd(w, v128.load(from, 624), a7);
              if (apart<A>(codes > 3)) {
                w = v128.load32_splat(values, 72);
                from = x + column<T>(code, 7, 1);
                a0 = madd(w, v128.load(from, 512), a0);
                a1 = madd(w, v128.load(from, 528), a1);
                a2 = madd(w, v128.load(from, 544), a2);
                a3 = madd(w, v128.load(from, 560), a3);
                if (apart<A>(x > 4)) {
                  a4 = madd(w, v128.load(from, 576), a4);
                  a5 = madd(w, v128.load(from, 592), a5);
                  a6 = madd(w, v128.load(from, 608), a6);
                  a7 = madd(w, v128.load(from, 624), a7);
                }
              }
            }
          }
        }
      }
    }
    x += 1024;
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
  }
  v128.store(sums, a0);
  v128.store(sums, a1, 16);
  v128.store(sums, a2, 32);
  v128.store(sums, a3, 48);
  v128.store(sums, a4, 64);
  v128.store(sums, a5, 80);
  v128.store(sums, a6, 96);
  v128.store(sums, a7, 112);
}
