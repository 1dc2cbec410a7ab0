// Which weights of a group go: the smallest scores, the lowest index first among equals, NaN
// counting as infinity. The same rule as src/backends/selection.ts.

/** The score, or infinity for NaN, in every lane. */
// @ts-ignore: decorator
@inline
export function numberOrInfinity(score: v128): v128 {
  return f32x4.pmin(f32x4.splat(Infinity), score);
}

/** A bit mask of the `drop` smallest of `m` <= 16 scores; bit i is score i. */
export function dropBits(scores: usize, m: i32, drop: i32): i32 {
  let bits = 0;
  for (let i = 0; i < m; i++) {
    const score = orInfinity(load<f32>(scores + (<usize>i << 2)));
    let smaller = 0;
    for (let j = 0; j < m; j++) {
      const other = orInfinity(load<f32>(scores + (<usize>j << 2)));
      smaller += i32(other < score) | (i32(other == score) & i32(j < i));
    }
    bits |= i32(smaller < drop) << i;
  }
  return bits;
}

/** dropBits of four scores in registers, without a branch. */
// @ts-ignore: decorator
@inline
export function dropBitsOfFour(scores: v128, drop: i32): i32 {
  const s = numberOrInfinity(scores);
  const s0 = f32x4.extract_lane(s, 0);
  const s1 = f32x4.extract_lane(s, 1);
  const s2 = f32x4.extract_lane(s, 2);
  const s3 = f32x4.extract_lane(s, 3);
  const le01 = i32(s0 <= s1);
  const le02 = i32(s0 <= s2);
  const le03 = i32(s0 <= s3);
  const le12 = i32(s1 <= s2);
  const le13 = i32(s1 <= s3);
  const le23 = i32(s2 <= s3);
  return (
    i32(3 - le01 - le02 - le03 < drop) |
    (i32(2 + le01 - le12 - le13 < drop) << 1) |
    (i32(1 + le02 + le12 - le23 < drop) << 2) |
    (i32(le03 + le13 + le23 < drop) << 3)
  );
}

// @ts-ignore: decorator
@inline
function orInfinity(score: f32): f32 {
  return score < Infinity ? score : Infinity;
}
