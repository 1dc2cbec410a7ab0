import type { Operations } from "../../backend.js";
import { colsOf, f32, i32 } from "../../tensor.js";
import { checkIds } from "../ids.js";

function largestOf(xs: Float32Array, start: number, end: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = start; i < end; i++) largest = Math.max(largest, xs[i]);
  return largest;
}

export const softmax: Operations["softmax"] = (x, out, temperature) => {
  const [xs, ys] = [f32(x), f32(out)];
  const width = colsOf(x);
  for (let start = 0; start < xs.length; start += width) {
    const end = start + width;
    const largest = largestOf(xs, start, end);
    const weights = Float64Array.from(xs.subarray(start, end), (value) =>
      Math.exp((value - largest) / temperature),
    );
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let i = 0; i < width; i++) ys[start + i] = weights[i] / total;
  }
};

export const argmax: Operations["argmax"] = (x, out) => {
  const [xs, places] = [f32(x), f32(out)];
  const width = colsOf(x);
  for (let start = 0, at = 0; start < xs.length; start += width, at += 2) {
    let best = start;
    for (let i = start; i < start + width; i++) {
      // Written with a negation, so that NaN is taken. Nothing is above it later, so it is kept.
      if (!(xs[i] <= xs[best]) && !Number.isNaN(xs[best])) best = i;
    }
    places[at] = best - start;
    places[at + 1] = xs[best];
  }
};

export const crossEntropy: Operations["crossEntropy"] = (logits, targets, out) => {
  const [xs, ids, losses] = [f32(logits), i32(targets), f32(out)];
  const width = colsOf(logits);
  checkIds("crossEntropy", ids, width);
  for (let t = 0; t < ids.length; t++) {
    const start = t * width;
    const largest = largestOf(xs, start, start + width);
    let total = 0;
    for (let i = start; i < start + width; i++) total += Math.exp(xs[i] - largest);
    losses[t] = Math.log(total) + largest - xs[start + ids[t]];
  }
};

export const klDivergence: Operations["klDivergence"] = (reference, logits, out) => {
  const [rs, xs, divergences] = [f32(reference), f32(logits), f32(out)];
  const width = colsOf(logits);
  for (let t = 0; t < divergences.length; t++) {
    const start = t * width;
    const [mostR, mostX] = [rs, xs].map((values) => largestOf(values, start, start + width));
    let [totalR, totalX, sum] = [0, 0, 0];
    for (let i = start; i < start + width; i++) {
      const weight = Math.exp(rs[i] - mostR);
      totalR += weight;
      totalX += Math.exp(xs[i] - mostX);
      // What has no weight counts for nothing, however unlikely it is there.
      if (weight > 0) sum += weight * (rs[i] - mostR - (xs[i] - mostX));
    }
    divergences[t] = sum / totalR - Math.log(totalR) + Math.log(totalX);
  }
};
