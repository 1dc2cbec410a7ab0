// Products of one query with keys of one head, read in place: four keys at once share the loads of
// the query and are summed across lanes together.

import { madd, sumLanes } from "./simd";

/** scores [count] = k [count, dim] q, rows of k `stride` bytes apart. */
export function scoreFew(q: usize, k: usize, stride: usize, count: i32, dim: i32, scores: usize): void {
  for (; count > 0; count--) {
    let sums = f32x4.splat(0);
    let i = 0;
    for (; i + 4 <= dim; i += 4) {
      const at = <usize>i << 2;
      sums = madd(v128.load(q + at), v128.load(k + at), sums);
    }
    let sum = sumLanes(sums);
    for (; i < dim; i++) sum += load<f32>(q + (<usize>i << 2)) * load<f32>(k + (<usize>i << 2));
    store<f32>(scores, sum);
    k += stride;
    scores += 4;
  }
}

/** scores [4] = k [4, dim] q, rows of k `stride` bytes apart. */
export function scoreFour(q: usize, k0: usize, stride: usize, dim: i32, scores: usize): void {
  let k1 = k0 + stride;
  let k2 = k1 + stride;
  let k3 = k2 + stride;
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  for (; dim >= 4; dim -= 4) {
    const four = v128.load(q);
    s0 = madd(four, v128.load(k0), s0);
    s1 = madd(four, v128.load(k1), s1);
    s2 = madd(four, v128.load(k2), s2);
    s3 = madd(four, v128.load(k3), s3);
    q += 16;
    k0 += 16;
    k1 += 16;
    k2 += 16;
    k3 += 16;
  }
  const s01 = f32x4.add(
    v128.shuffle<f32>(s0, s1, 0, 4, 1, 5),
    v128.shuffle<f32>(s0, s1, 2, 6, 3, 7),
  );
  const s23 = f32x4.add(
    v128.shuffle<f32>(s2, s3, 0, 4, 1, 5),
    v128.shuffle<f32>(s2, s3, 2, 6, 3, 7),
  );
  let sums = f32x4.add(v128.shuffle<f64>(s01, s23, 0, 2), v128.shuffle<f64>(s01, s23, 1, 3));
  for (; dim > 0; dim--) {
    let keys = f32x4.splat(load<f32>(k0));
    keys = f32x4.replace_lane(keys, 1, load<f32>(k1));
    keys = f32x4.replace_lane(keys, 2, load<f32>(k2));
    keys = f32x4.replace_lane(keys, 3, load<f32>(k3));
    sums = madd(v128.load32_splat(q), keys, sums);
    q += 4;
    k0 += 4;
    k1 += 4;
    k2 += 4;
    k3 += 4;
  }
  v128.store(scores, sums);
}
