import type { Operations } from "../../backend.js";
import { colsOf, f32, type HostTensor, i32, rowsOf } from "../../tensor.js";

export const takeColumns: Operations["takeColumns"] = (x, out, { first, width, stride }) => {
  const [xs, ys] = [f32(x), f32(out)];
  const [from, to] = [colsOf(x), colsOf(out)];
  for (let row = 0; row < rowsOf(x); row++) {
    for (let i = 0; i < to; i++) {
      const col = first + Math.floor(i / width) * stride + (i % width);
      ys[row * to + i] = xs[row * from + col];
    }
  }
};

export const orderColumns: Operations["orderColumns"] = async (x, order, out) => {
  const [xs, ys] = [(x as HostTensor).data, (out as HostTensor).data];
  const places = i32(order);
  const cols = colsOf(x);
  for (let start = 0; start < xs.length; start += cols) {
    for (let j = 0; j < cols; j++) ys[start + j] = xs[start + places[j]];
  }
};
