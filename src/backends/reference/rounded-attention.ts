import type { Operations } from "../../backend.js";
import { f32, type HostTensor, rowsOf, type Tensor, u8 } from "../../tensor.js";
import { attention } from "./attention.js";
import { nearest } from "./nearest.js";

export const roundHeads: Operations["roundHeads"] = (x, codes, scales) => {
  const [xs, ys, factors] = [f32(x), u8(codes), f32(scales)];
  const headDim = x.size / Math.max(1, scales.size);
  for (let head = 0; head < scales.size; head++) {
    const start = head * headDim;
    let most = 0;
    for (let i = start; i < start + headDim; i++) most = Math.max(most, Math.abs(xs[i]));
    factors[head] = most / 127;
    const scale = factors[head];
    for (let i = start; i < start + headDim; i++) {
      const isNumber = scale > 0 && scale < Number.POSITIVE_INFINITY;
      ys[i] = isNumber ? Math.min(127, Math.max(-128, nearest(Math.fround(xs[i] / scale)))) : 0;
    }
  }
};

/** Heads of codes as the numbers that they stand for. */
function widened(codes: Tensor, scales: Tensor, headDim: number): HostTensor {
  const [from, factors] = [u8(codes), f32(scales)];
  const data = Float32Array.from(from, (byte, i) => {
    return ((byte << 24) >> 24) * factors[Math.floor(i / headDim)];
  });
  const { shape, size } = codes;
  return { dtype: "f32", shape, size, data, dispose() {}, [Symbol.dispose]() {} };
}

export const roundedAttention: Operations["roundedAttention"] = (
  q,
  k,
  keyScales,
  v,
  valueScales,
  out,
  options,
) => {
  if (rowsOf(q) === 0) return;
  const keys = widened(k, keyScales, options.headDim);
  attention(q, keys, widened(v, valueScales, options.headDim), out, options);
};
