// The small triangular steps on a diagonal block, which the blocked factorisation and inversion
// leave between their matrix products. Both work on whole rows, four columns at a time.

import { subtractScaled } from "./simd";

/** Rows and columns of a diagonal block; a multiple of any NR. */
export const NB: i32 = 96;
/** Bytes between rows of a block copied to scratch. */
export const BLOCK_LD: usize = <usize>(NB * 4);
export const BLOCK_BYTES: usize = <usize>NB * BLOCK_LD;

/**
 * In-place lower Cholesky factor of the n x n block at a, by way of its transpose: a row of the
 * upper factor is contiguous, so each pivot updates the rows below it in SIMD.
 *
 * @param block BLOCK_BYTES of scratch
 * @returns -1, or the first pivot that was not positive
 */
export function factorDiagonal(n: i32, a: usize, ld: usize, block: usize): i32 {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const value = load<f32>(a + <usize>i * ld + (<usize>j << 2));
      store<f32>(block + <usize>j * BLOCK_LD + (<usize>i << 2), value);
    }
  }
  for (let p = 0; p < n; p++) {
    const row = block + <usize>p * BLOCK_LD;
    const pivot = load<f32>(row + (<usize>p << 2));
    if (!(pivot > 0)) return p;
    const root = sqrt<f32>(pivot);
    store<f32>(row + (<usize>p << 2), root);
    for (let j = p + 1; j < n; j++) {
      const at = row + (<usize>j << 2);
      store<f32>(at, load<f32>(at) / root);
    }
    for (let i = p + 1; i < n; i++) {
      const from = row + (<usize>i << 2);
      const to = block + <usize>i * BLOCK_LD + (<usize>i << 2);
      subtractScaled(n - i, load<f32>(from), from, to);
    }
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const value = load<f32>(block + <usize>j * BLOCK_LD + (<usize>i << 2));
      store<f32>(a + <usize>i * ld + (<usize>j << 2), value);
    }
  }
  return -1;
}

/**
 * block = inverse of the lower-triangular n x n block at l, zero above the diagonal: row i is
 * (e_i - sum over p < i of l[i][p] * row p) / l[i][i].
 *
 * @param block BLOCK_BYTES of scratch, rows BLOCK_LD apart
 */
export function invertDiagonal(n: i32, l: usize, ld: usize, block: usize): void {
  memory.fill(block, 0, <usize>n * BLOCK_LD);
  for (let i = 0; i < n; i++) {
    const from = l + <usize>i * ld;
    const to = block + <usize>i * BLOCK_LD;
    for (let p = 0; p < i; p++) {
      subtractScaled(p + 1, load<f32>(from + (<usize>p << 2)), block + <usize>p * BLOCK_LD, to);
    }
    const pivot = load<f32>(from + (<usize>i << 2));
    for (let j = 0; j < i; j++) {
      const at = to + (<usize>j << 2);
      store<f32>(at, load<f32>(at) / pivot);
    }
    store<f32>(to + (<usize>i << 2), 1 / pivot);
  }
}
