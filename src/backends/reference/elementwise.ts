import type { Operations } from "../../backend.js";
import { f32 } from "../../tensor.js";

export const swiglu: Operations["swiglu"] = (gate, up, out) => {
  const [gates, ups, ys] = [f32(gate), f32(up), f32(out)];
  for (let i = 0; i < ys.length; i++) ys[i] = (gates[i] / (1 + Math.exp(-gates[i]))) * ups[i];
};

export const add: Operations["add"] = (x, y) => {
  const [xs, ys] = [f32(x), f32(y)];
  for (let i = 0; i < xs.length; i++) xs[i] += ys[i];
};
