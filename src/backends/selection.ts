/**
 * Which scores are the smallest: the rule that every mask follows. Ties go to the lowest index
 * first, and NaN counts as infinity, so that a broken score never makes its weight go first.
 */

const RADIX_BITS = 11;
const BUCKETS = 1 << RADIX_BITS;
const INFINITY_BITS = 0x7f800000;

/** A 32-bit unsigned key that orders like the float whose bits are given; both zeros share one. */
function orderedKey(bits: number): number {
  const magnitude = bits & 0x7fffffff;
  if (magnitude > INFINITY_BITS) return 0x80000000 + INFINITY_BITS;
  return bits < 0 ? 0x80000000 - magnitude : 0x80000000 + magnitude;
}

/**
 * Sets mask[i] = 0 for exactly the `count` smallest scores and 1 elsewhere, in O(n): three passes
 * of radix selection find the count-th smallest score, then one pass marks.
 *
 * @param mask u8, same length as scores
 */
export function dropSmallest(scores: Float32Array, mask: Uint8Array, count: number): void {
  mask.fill(1);
  if (count === 0) return;
  const bits = new Int32Array(scores.buffer, scores.byteOffset, scores.length);
  const buckets = new Uint32Array(BUCKETS);
  let prefix = 0;
  let below = count;
  for (let shift = 32; shift > 0; ) {
    const width = Math.min(RADIX_BITS, shift);
    const high = shift;
    shift -= width;
    buckets.fill(0);
    for (let i = 0; i < bits.length; i++) {
      const key = orderedKey(bits[i]);
      // A shift by 32 is a shift by 0 in JavaScript, hence the first pass takes every key.
      if (high === 32 || key >>> high === prefix) buckets[(key >>> shift) & ((1 << width) - 1)]++;
    }
    let bucket = 0;
    while (buckets[bucket] < below) below -= buckets[bucket++];
    prefix = ((high === 32 ? 0 : prefix << width) | bucket) >>> 0;
  }
  for (let i = 0; i < bits.length; i++) {
    const key = orderedKey(bits[i]);
    if (key < prefix || (key === prefix && below-- > 0)) mask[i] = 0;
  }
}

/**
 * Sets mask = 1 for the n largest of the m scores from `start`, 0 for the others.
 *
 * @param start index of the group's first score, in both arrays
 */
export function keepLargest(
  scores: Float32Array,
  mask: Uint8Array,
  start: number,
  n: number,
  m: number,
): void {
  for (let i = start; i < start + m; i++) {
    const score = numberOrInfinity(scores[i]);
    let smaller = 0;
    for (let j = start; j < start + m; j++) {
      const other = numberOrInfinity(scores[j]);
      if (other < score || (other === score && j < i)) smaller++;
    }
    mask[i] = smaller < m - n ? 0 : 1;
  }
}

function numberOrInfinity(score: number): number {
  return Number.isNaN(score) ? Number.POSITIVE_INFINITY : score;
}
