import type { Operations } from "../../backend.js";
import { f32 } from "../../tensor.js";
import type { ActivationName } from "../operations/activation.js";

/** From here on the continued fraction converges faster than the series. */
const FAR = 3;
/** Enough of either for all digits of float64. */
const TERMS = 100;

/**
 * The share of a normal variable's values that are above `x` >= 0: by the series of the error
 * function, or the continued fraction of its complement (Abramowitz and Stegun, 26.2.11 and 26.2.14).
 */
function normalTail(x: number): number {
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  if (x < FAR) {
    let [term, sum] = [x, x];
    for (let n = 1; n < TERMS; n++) {
      term *= (x * x) / (2 * n + 1);
      sum += term;
    }
    return 0.5 - density * sum;
  }
  let fraction = x;
  for (let n = TERMS; n > 0; n--) fraction = x + n / fraction;
  return density / fraction;
}

function gelu(x: number): number {
  // Where the density is 0, so is its product with an infinite x.
  const part = Math.min(Math.abs(x), 1e3) * normalTail(Math.abs(x));
  return Math.max(x, 0) - part;
}

/** 1 + tanh(y) is 2 / (1 + exp(-2y)), which keeps its digits far below zero. */
function geluTanh(x: number): number {
  return x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

const FUNCTIONS: Readonly<Record<ActivationName, (x: number) => number>> = {
  gelu,
  "gelu-tanh": geluTanh,
  relu: (x) => Math.max(x, 0),
};

export const activate: Operations["activate"] = (x, out, name) => {
  const [xs, ys, f] = [f32(x), f32(out), FUNCTIONS[name]];
  for (let i = 0; i < ys.length; i++) ys[i] = f(xs[i]);
};

export const geglu: Operations["geglu"] = (gate, up, out) => {
  const [gates, ups, ys] = [f32(gate), f32(up), f32(out)];
  for (let i = 0; i < ys.length; i++) ys[i] = geluTanh(gates[i]) * ups[i];
};
