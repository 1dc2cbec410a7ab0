// What ARMOR's pass does to the elements of one pair of blocks besides its products: Adam on the
// kept values of the core, the gradient's weights, and the change of one group.

import { GROUP_SCRATCH, solveGroup } from "./armor-group";
import { addScaled } from "./simd";

/** Bytes of scratch for `refineGroup`. */
export function refineScratch(a: i32, b: i32): usize {
  return (<usize>(a + 2 * b) << 2) + GROUP_SCRATCH;
}

/**
 * Moves Adam's moments of four values by their gradient g.
 *
 * @param step learning rate / (1 - beta1^t)
 * @param correction 1 / sqrt(1 - beta2^t)
 * @returns what is to be taken off the values
 */
// @ts-ignore: decorator
@inline
export function adam(g: v128, first: usize, second: usize, step: f32, correction: f32): v128 {
  const m = f32x4.add(
    f32x4.mul(f32x4.splat(0.9), v128.load(first)),
    f32x4.mul(f32x4.splat(0.1), g),
  );
  const v = f32x4.add(
    f32x4.mul(f32x4.splat(0.999), v128.load(second)),
    f32x4.mul(f32x4.splat(0.001), f32x4.mul(g, g)),
  );
  v128.store(first, m);
  v128.store(second, v);
  const root = f32x4.mul(f32x4.splat(correction), f32x4.sqrt(v));
  return f32x4.div(f32x4.mul(f32x4.splat(step), m), f32x4.add(root, f32x4.splat(1e-8)));
}

/** Adam on `count` core values; removed ones have no gradient and stay 0, but their moments decay. */
export function adamCore(
  core: usize,
  codes: usize,
  masks: usize,
  gradient: usize,
  first: usize,
  second: usize,
  count: i32,
  step: f32,
  correction: f32,
): void {
  for (; count > 0; count -= 4) {
    const change = adam(v128.load(gradient), first, second, step, correction);
    const kept = v128.load(masks + (<usize>load<u8>(codes) << 4));
    v128.store(core, f32x4.sub(v128.load(core), v128.and(change, kept)));
    core += 16;
    codes += 1;
    gradient += 16;
    first += 16;
    second += 16;
  }
}

/** gradient [count] = d where kept, else 0. */
export function keepGradient(
  count: i32,
  d: usize,
  codes: usize,
  masks: usize,
  gradient: usize,
): void {
  for (; count > 0; count -= 4) {
    const kept = v128.load(masks + (<usize>load<u8>(codes) << 4));
    v128.store(gradient, v128.and(v128.load(d), kept));
    d += 16;
    codes += 1;
    gradient += 16;
  }
}

/** Turns errors E [a, b] into G = 2 E diag(w), in place. Returns sum w_j E_ij². */
export function weighErrors(a: i32, b: i32, weights: usize, errors: usize): f64 {
  let loss: f64 = 0;
  for (let i = 0; i < a; i++) {
    let sum = f32x4.splat(0);
    let weight = weights;
    for (let j = b; j > 0; j -= 4) {
      const e = v128.load(errors);
      const g = f32x4.mul(e, v128.load(weight));
      sum = f32x4.add(sum, f32x4.mul(e, g));
      v128.store(errors, g);
      errors += 16;
      weight += 16;
    }
    const low = f64x2.promote_low_f32x4(sum);
    const high = f64x2.promote_low_f32x4(v128.shuffle<f64>(sum, sum, 1, 1));
    const both = f64x2.add(low, high);
    loss += f64x2.extract_lane(both, 0) + f64x2.extract_lane(both, 1);
  }
  return loss / 2;
}

/**
 * Gives a group of the core its best support and values, and carries the change, which has rank
 * one, through T, G, V and D.
 *
 * @param group row * b / 4 + column group
 * @param left A [a, a]; right and turnedRight B and Bᵀ [b, b]
 * @param weights [b], 2 w
 * @param products T, G, V and D [a, b], one after another
 * @returns what f falls by
 */
export function refineGroup(
  a: i32,
  b: i32,
  group: i32,
  left: usize,
  right: usize,
  turnedRight: usize,
  weights: usize,
  ridge: f64,
  core: usize,
  codes: usize,
  products: usize,
  scratch: usize,
): f64 {
  const lda = <usize>a << 2;
  const ldb = <usize>b << 2;
  const perRow = b >> 2;
  const k = group / perRow;
  const first = (group % perRow) << 2;
  const t = products;
  const g = t + <usize>a * ldb;
  const v = g + <usize>a * ldb;
  const d = v + <usize>a * ldb;
  const change = scratch + GROUP_SCRATCH;
  const turnedChange = change + ldb;
  const mixed = turnedChange + ldb;

  const column = left + (<usize>k << 2);
  memory.fill(mixed, 0, lda);
  let norm: f64 = 0;
  for (let i: usize = 0; i < <usize>a; i++) {
    const value = load<f32>(column + i * lda);
    norm += <f64>value * <f64>value;
    addScaled(a, value, left + i * lda, mixed);
  }
  const place = <usize>group << 4;
  const rows = right + <usize>first * ldb;
  const support = solveGroup(core + place, d + place, norm, rows, b, weights, ridge, scratch);
  if (support == 0) return 0;
  store<u8>(codes + <usize>group, support);
  memory.fill(change, 0, ldb);
  for (let x: usize = 0; x < 4; x++) {
    const at = core + place + (x << 2);
    const value = <f32>load<f64>(scratch + 32 + (x << 3));
    addScaled(b, value - load<f32>(at), rows + x * ldb, change);
    store<f32>(at, value);
  }
  addScaled(b, 1, change, t + <usize>k * ldb);
  for (let j: usize = 0; j < ldb; j += 4) {
    store<f32>(change + j, load<f32>(change + j) * load<f32>(weights + j));
  }
  memory.fill(turnedChange, 0, ldb);
  for (let j: usize = 0; j < <usize>b; j++) {
    addScaled(b, load<f32>(change + (j << 2)), turnedRight + j * ldb, turnedChange);
  }
  for (let i: usize = 0; i < <usize>a; i++) {
    const factor = load<f32>(mixed + (i << 2));
    addScaled(b, load<f32>(column + i * lda), change, g + i * ldb);
    addScaled(b, factor, change, v + i * ldb);
    addScaled(b, factor, turnedChange, d + i * ldb);
  }
  return load<f64>(scratch);
}
