// Activations over contiguous f32: four lanes at a time, then the rest one by one.

import { gelu, geluTanh, lane } from "../lib/gelu";

/** out = x times the share of a normal variable's values below x, `count` floats; out may be x. */
export function activationGelu(x: usize, out: usize, count: i32): void {
  for (; count >= 4; count -= 4) {
    v128.store(out, gelu(v128.load(x)));
    x += 16;
    out += 16;
  }
  for (; count > 0; count--) {
    store<f32>(out, lane(gelu(v128.load32_splat(x))));
    x += 4;
    out += 4;
  }
}

/** out = x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))), `count` floats; out may be x. */
export function activationGeluTanh(x: usize, out: usize, count: i32): void {
  for (; count >= 4; count -= 4) {
    v128.store(out, geluTanh(v128.load(x)));
    x += 16;
    out += 16;
  }
  for (; count > 0; count--) {
    store<f32>(out, lane(geluTanh(v128.load32_splat(x))));
    x += 4;
    out += 4;
  }
}

/** out = the same of gate, times up; out may be gate or up. */
export function activationGeglu(gate: usize, up: usize, out: usize, count: i32): void {
  for (; count >= 4; count -= 4) {
    v128.store(out, f32x4.mul(geluTanh(v128.load(gate)), v128.load(up)));
    gate += 16;
    up += 16;
    out += 16;
  }
  for (; count > 0; count--) {
    store<f32>(out, lane(geluTanh(v128.load32_splat(gate))) * load<f32>(up));
    gate += 4;
    up += 4;
    out += 4;
  }
}

/** out = max(x, 0), `count` floats; out may be x. */
export function activationRelu(x: usize, out: usize, count: i32): void {
  const zero = f32x4.splat(0);
  for (; count >= 4; count -= 4) {
    v128.store(out, f32x4.max(v128.load(x), zero));
    x += 16;
    out += 16;
  }
  for (; count > 0; count--) {
    store<f32>(out, max(load<f32>(x), 0));
    x += 4;
    out += 4;
  }
}
