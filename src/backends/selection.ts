/**
 * Which scores are the smallest: the rule that every mask follows. Ties go to the lowest index
 * first, and NaN counts as infinity, so that a broken score never makes its weight go first.
 */

const INFINITY_BITS = 0x7f800000;
/** Bits of a key that each pass of the radix selection settles, from the highest. */
const RADIX_SHIFTS: readonly number[] = [21, 10, 0];
const BUCKETS = 2048;

/** A 32-bit integer that orders like the float whose bits are given; both zeros share one. */
function orderedKey(bits: number): number {
  const magnitude = bits & 0x7fffffff;
  if (magnitude > INFINITY_BITS) return INFINITY_BITS;
  return bits < 0 ? -magnitude : magnitude;
}

/**
 * Sets mask[i] = 0 for exactly the `count` smallest scores and 1 elsewhere, in O(n): radix
 * selection finds the count-th smallest score, then one pass marks.
 *
 * @param mask u8, same length as scores
 */
export function dropSmallest(scores: Float32Array, mask: Uint8Array, count: number): void {
  if (count === 0) {
    mask.fill(1);
    return;
  }
  const bits = new Int32Array(scores.buffer, scores.byteOffset, scores.length);
  const keys = new Int32Array(bits.length);
  for (let i = 0; i < bits.length; i++) keys[i] = orderedKey(bits[i]);
  const buckets = new Uint32Array(BUCKETS);
  let candidates = keys;
  let below = count;
  for (const shift of RADIX_SHIFTS) {
    // The sign of the highest digit is turned over, so that negative keys come first.
    const flip = shift === 21 ? BUCKETS / 2 : 0;
    const digits = shift === 0 ? BUCKETS / 2 - 1 : BUCKETS - 1;
    buckets.fill(0);
    for (let i = 0; i < candidates.length; i++) {
      buckets[((candidates[i] >> shift) & digits) ^ flip]++;
    }
    let bucket = 0;
    while (buckets[bucket] < below) below -= buckets[bucket++];
    const chosen = new Int32Array(buckets[bucket]);
    for (let i = 0, end = 0; i < candidates.length; i++) {
      if ((((candidates[i] >> shift) & digits) ^ flip) === bucket) chosen[end++] = candidates[i];
    }
    candidates = chosen;
  }
  // What is left are copies of the count-th smallest key; `below` of them go.
  const last = candidates[0];
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    mask[i] = key > last || (key === last && below-- <= 0) ? 1 : 0;
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
