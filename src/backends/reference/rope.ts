import type { Operations } from "../../backend.js";
import { colsOf, f32, rowsOf } from "../../tensor.js";

export const rope: Operations["rope"] = (x, cos, sin, start, headDim = 2 * colsOf(cos)) => {
  const [xs, cosines, sines] = [f32(x), f32(cos), f32(sin)];
  const half = colsOf(cos);
  const width = colsOf(x);
  for (let row = 0; row < rowsOf(x); row++) {
    const angle = (start + row) * half;
    for (let head = row * width; head < (row + 1) * width; head += headDim) {
      for (let i = 0; i < half; i++) {
        const [a, b] = [xs[head + i], xs[head + half + i]];
        const [c, s] = [cosines[angle + i], sines[angle + i]];
        xs[head + i] = a * c - b * s;
        xs[head + half + i] = b * c + a * s;
      }
    }
  }
};
