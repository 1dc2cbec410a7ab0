import type { Operations } from "../../backend.js";
import { colsOf, f32 } from "../../tensor.js";

export const columnDots: Operations["columnDots"] = (a, b, out) => {
  const cols = colsOf(a);
  const [as, bs] = [f32(a), f32(b)];
  const sums = new Float64Array(cols);
  for (let row = 0; row < as.length; row += cols) {
    for (let j = 0; j < cols; j++) sums[j] += as[row + j] * bs[row + j];
  }
  f32(out).set(sums);
};

export const addScaledColumns: Operations["addScaledColumns"] = (x, y, scale, factor) => {
  const cols = colsOf(x);
  const [xs, ys, scales] = [f32(x), f32(y), f32(scale)];
  for (let row = 0; row < xs.length; row += cols) {
    for (let j = 0; j < cols; j++) xs[row + j] += factor * ys[row + j] * scales[j];
  }
};

export const antisymmetrise: Operations["antisymmetrise"] = (a) => {
  const n = colsOf(a);
  const data = f32(a);
  for (let i = 0; i < n; i++) {
    data[i * n + i] = 0;
    for (let j = 0; j < i; j++) {
      const difference = data[i * n + j] - data[j * n + i];
      data[i * n + j] = difference;
      data[j * n + i] = -difference;
    }
  }
};

export const adam: Operations["adam"] = (x, gradient, first, second, options) => {
  const { learningRate, step, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, scale = 1 } = options;
  const [xs, gs, ms, vs] = [f32(x), f32(gradient), f32(first), f32(second)];
  // Both moments start at zero, which their early means are corrected for.
  const firstMean = 1 / (1 - beta1 ** step);
  const secondMean = 1 / (1 - beta2 ** step);
  for (let i = 0; i < xs.length; i++) {
    const g = scale * gs[i];
    ms[i] = beta1 * ms[i] + (1 - beta1) * g;
    vs[i] = beta2 * vs[i] + (1 - beta2) * g * g;
    const spread = Math.sqrt(vs[i] * secondMean) + epsilon;
    xs[i] -= (learningRate * ms[i] * firstMean) / spread;
  }
};
