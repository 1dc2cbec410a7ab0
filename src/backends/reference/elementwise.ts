import type { Operations } from "../../backend.js";
import { f32, i32 } from "../../tensor.js";
import { checkIds } from "../ids.js";
import { denseOf } from "./dense-matrix.js";

export const swiglu: Operations["swiglu"] = (gate, up, out) => {
  const [gates, ups, ys] = [f32(gate), f32(up), f32(out)];
  for (let i = 0; i < ys.length; i++) ys[i] = (gates[i] / (1 + Math.exp(-gates[i]))) * ups[i];
};

export const add: Operations["add"] = (x, y) => {
  const [xs, ys] = [f32(x), f32(y)];
  for (let i = 0; i < xs.length; i++) xs[i] += ys[i];
};

export const embed: Operations["embed"] = (table, ids, out) => {
  const { rows: count, cols: width, values: rows } = denseOf(table);
  const [tokens, ys] = [i32(ids), f32(out)];
  checkIds("embed", tokens, count);
  for (let t = 0; t < tokens.length; t++) {
    const start = tokens[t] * width;
    ys.set(rows.subarray(start, start + width), t * width);
  }
};
