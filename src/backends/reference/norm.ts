import type { Operations } from "../../backend.js";
import { f32 } from "../../tensor.js";

export const rmsNorm: Operations["rmsNorm"] = (x, gain, out, eps) => {
  const [xs, gains, ys] = [f32(x), f32(gain), f32(out)];
  const width = gains.length;
  for (let at = 0; at < xs.length; at += width) {
    let squares = 0;
    for (let i = 0; i < width; i++) squares += xs[at + i] ** 2;
    const scale = 1 / Math.sqrt(squares / width + eps);
    for (let i = 0; i < width; i++) ys[at + i] = xs[at + i] * scale * gains[i];
  }
};

export const layerNorm: Operations["layerNorm"] = (x, gain, bias, out, eps) => {
  const [xs, gains, biases, ys] = [x, gain, bias, out].map(f32);
  const width = gains.length;
  for (let at = 0; at < xs.length; at += width) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += xs[at + i];
    const mean = sum / width;
    let squares = 0;
    for (let i = 0; i < width; i++) squares += (xs[at + i] - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / width + eps);
    for (let i = 0; i < width; i++) ys[at + i] = (xs[at + i] - mean) * scale * gains[i] + biases[i];
  }
};
