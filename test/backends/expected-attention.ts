import type { AttentionOptions } from "../../src/backends/operations/attention.js";

/** A full score matrix with a mask, as attention is usually written down. */
export function expectedAttention(
  [queries, keys]: readonly number[],
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  { heads, kvHeads, headDim, window = Infinity, scale = 1 / Math.sqrt(headDim) }: AttentionOptions,
) {
  const expected = new Float64Array(queries * heads * headDim);
  for (let head = 0; head < heads; head++) {
    const kvHead = Math.floor(head / (heads / kvHeads));
    for (let t = 0; t < queries; t++) {
      const position = keys - queries + t;
      const scores = Array.from({ length: keys }, (_, s) => {
        if (s > position || s <= position - window) return -Infinity;
        let dot = 0;
        for (let i = 0; i < headDim; i++) {
          dot += q[(t * heads + head) * headDim + i] * k[(s * kvHeads + kvHead) * headDim + i];
        }
        return dot * scale;
      });
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (let i = 0; i < headDim; i++) {
        expected[(t * heads + head) * headDim + i] = weights.reduce(
          (sum, weight, s) => sum + (weight / total) * v[(s * kvHeads + kvHead) * headDim + i],
          0,
        );
      }
    }
  }
  return expected;
}
