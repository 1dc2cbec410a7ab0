// Elementwise operations over contiguous f32: four lanes at a time, then the rest one by one.

import { exp, expScalar, ones } from "../lib/exp";

/** x += y, `count` floats. */
export function elementwiseAdd(x: usize, y: usize, count: i32): void {
  for (; count >= 4; count -= 4) {
    v128.store(x, f32x4.add(v128.load(x), v128.load(y)));
    x += 16;
    y += 16;
  }
  for (; count > 0; count--) {
    store<f32>(x, load<f32>(x) + load<f32>(y));
    x += 4;
    y += 4;
  }
}

/** out = x - y, `count` floats; out may be x or y. */
export function elementwiseSubtract(x: usize, y: usize, out: usize, count: i32): void {
  for (; count >= 4; count -= 4) {
    v128.store(out, f32x4.sub(v128.load(x), v128.load(y)));
    x += 16;
    y += 16;
    out += 16;
  }
  for (; count > 0; count--) {
    store<f32>(out, load<f32>(x) - load<f32>(y));
    x += 4;
    y += 4;
    out += 4;
  }
}

/** out = gate / (1 + exp(-gate)) * up, `count` floats; out may be gate or up. */
export function elementwiseSwiglu(gate: usize, up: usize, out: usize, count: i32): void {
  for (; count >= 4; count -= 4) {
    const g = v128.load(gate);
    const silu = f32x4.div(g, f32x4.add(ones(), exp(f32x4.neg(g))));
    v128.store(out, f32x4.mul(silu, v128.load(up)));
    gate += 16;
    up += 16;
    out += 16;
  }
  for (; count > 0; count--) {
    const g = load<f32>(gate);
    store<f32>(out, (g / (1 + expScalar(-g))) * load<f32>(up));
    gate += 4;
    up += 4;
    out += 4;
  }
}
