import type { Operations } from "../../backend.js";
import { f32, rowsOf } from "../../tensor.js";

export const attention: Operations["attention"] = (q, k, v, out, options) => {
  const { heads, kvHeads, headDim, window = Number.POSITIVE_INFINITY } = options;
  const { scale = 1 / Math.sqrt(headDim) } = options;
  const [qs, ks, vs, ys] = [f32(q), f32(k), f32(v), f32(out)];
  const [queries, keys] = [rowsOf(q), rowsOf(k)];
  const stride = kvHeads * headDim;
  const weights = new Float64Array(keys);
  const mixed = new Float64Array(headDim);
  for (let t = 0; t < queries; t++) {
    const last = keys - queries + t;
    const first = Math.max(0, last + 1 - window);
    for (let head = 0; head < heads; head++) {
      const at = (t * heads + head) * headDim;
      const shared = Math.floor((head * kvHeads) / heads) * headDim;
      let largest = Number.NEGATIVE_INFINITY;
      for (let s = first; s <= last; s++) {
        let dot = 0;
        for (let i = 0; i < headDim; i++) dot += qs[at + i] * ks[s * stride + shared + i];
        weights[s] = dot * scale;
        largest = Math.max(largest, weights[s]);
      }
      let total = 0;
      for (let s = first; s <= last; s++) {
        weights[s] = Math.exp(weights[s] - largest);
        total += weights[s];
      }
      mixed.fill(0);
      for (let s = first; s <= last; s++) {
        const weight = weights[s] / total;
        for (let i = 0; i < headDim; i++) mixed[i] += weight * vs[s * stride + shared + i];
      }
      ys.set(mixed, at);
    }
  }
};
