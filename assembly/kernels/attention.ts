// Causal grouped-query attention, one query and head at a time: scores against four keys at once,
// softmax, then the weighted sum of values with 32 outputs in registers. Keys and values of a head
// are read in place, a row every `stride` bytes; heads that share them follow one another so that
// they stay in cache.

import { expRow, largest } from "../lib/exp";
import { madd, sumLanes } from "../lib/simd";

/**
 * q, out [queries, kvHeads * group, headDim]; k, v [keys, kvHeads, headDim], keys >= queries; query
 * t stands at position keys - queries + t and sees the last `window` positions up to its own.
 *
 * @param scale factor on scores
 * @param scores scratch of `keys` floats
 */
export function attention(
  q: usize,
  k: usize,
  v: usize,
  out: usize,
  queries: i32,
  keys: i32,
  kvHeads: i32,
  group: i32,
  headDim: i32,
  window: i32,
  scale: f32,
  scores: usize,
): void {
  const row = <usize>headDim << 2;
  const stride = <usize>kvHeads * row;
  for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
    const shared = <usize>kvHead * row;
    for (let t = 0; t < queries; t++) {
      const end = keys - queries + t + 1;
      const start = end > window ? end - window : 0;
      const skip = <usize>start * stride + shared;
      for (let member = 0; member < group; member++) {
        const at = <usize>((t * kvHeads + kvHead) * group + member) * row;
        const count = end - start;
        scoreKeys(q + at, k + skip, stride, count, headDim, scores);
        const sum = expRow(scores, scores, count, largest(scores, count), scale);
        mixValues(scores, v + skip, stride, count, headDim, <f32>(1 / sum), out + at);
      }
    }
  }
}

/** scores [count] = k [count, dim] q, rows of k `stride` bytes apart. */
function scoreKeys(q: usize, k: usize, stride: usize, count: i32, dim: i32, scores: usize): void {
  for (; count >= 4; count -= 4) {
    scoreFour(q, k, stride, dim, scores);
    k += 4 * stride;
    scores += 16;
  }
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

function scoreFour(q: usize, k0: usize, stride: usize, dim: i32, scores: usize): void {
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

/** out [dim] = factor * weights [count] v [count, dim], rows of v `stride` bytes apart. */
function mixValues(
  weights: usize,
  v: usize,
  stride: usize,
  count: i32,
  dim: i32,
  factor: f32,
  out: usize,
): void {
  for (; dim >= 32; dim -= 32) {
    mixThirtyTwo(weights, v, stride, count, factor, out);
    v += 128;
    out += 128;
  }
  for (; dim >= 4; dim -= 4) {
    let sums = f32x4.splat(0);
    let from = v;
    for (let s = 0; s < count; s++) {
      sums = madd(v128.load32_splat(weights + (<usize>s << 2)), v128.load(from), sums);
      from += stride;
    }
    v128.store(out, f32x4.mul(sums, f32x4.splat(factor)));
    v += 16;
    out += 16;
  }
  for (; dim > 0; dim--) {
    let sum: f32 = 0;
    let from = v;
    for (let s = 0; s < count; s++) {
      sum += load<f32>(weights + (<usize>s << 2)) * load<f32>(from);
      from += stride;
    }
    store<f32>(out, sum * factor);
    v += 4;
    out += 4;
  }
}

function mixThirtyTwo(
  weights: usize,
  v: usize,
  stride: usize,
  count: i32,
  factor: f32,
  out: usize,
): void {
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0);
  let s5 = f32x4.splat(0);
  let s6 = f32x4.splat(0);
  let s7 = f32x4.splat(0);
  for (; count > 0; count--) {
    const weight = v128.load32_splat(weights);
    s0 = madd(weight, v128.load(v), s0);
    s1 = madd(weight, v128.load(v, 16), s1);
    s2 = madd(weight, v128.load(v, 32), s2);
    s3 = madd(weight, v128.load(v, 48), s3);
    s4 = madd(weight, v128.load(v, 64), s4);
    s5 = madd(weight, v128.load(v, 80), s5);
    s6 = madd(weight, v128.load(v, 96), s6);
    s7 = madd(weight, v128.load(v, 112), s7);
    weights += 4;
    v += stride;
  }
  const factors = f32x4.splat(factor);
  v128.store(out, f32x4.mul(s0, factors));
  v128.store(out, f32x4.mul(s1, factors), 16);
  v128.store(out, f32x4.mul(s2, factors), 32);
  v128.store(out, f32x4.mul(s3, factors), 48);
  v128.store(out, f32x4.mul(s4, factors), 64);
  v128.store(out, f32x4.mul(s5, factors), 80);
  v128.store(out, f32x4.mul(s6, factors), 96);
  v128.store(out, f32x4.mul(s7, factors), 112);
}
