import type { Operations } from "../../backend.js";
import { colsOf, f32, rowsOf } from "../../tensor.js";

export const transpose: Operations["transpose"] = (a, out) => {
  const [rows, cols] = [rowsOf(a), colsOf(a)];
  const [from, to] = [f32(a), f32(out)];
  for (let i = 0; i < from.length; i++) to[(i % cols) * rows + Math.floor(i / cols)] = from[i];
};
