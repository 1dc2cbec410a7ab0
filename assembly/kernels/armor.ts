// ARMOR's optimisation (arXiv 2510.05528): f = sum_j w_j ||(A S B - W̄)_:j||² over block-diagonal A
// and B and a 2:4-sparse S. Everything that belongs to a pair of a block of A [a, a] and one of B
// [b, b] lies together, [a, b] row-major, so that all its products stay in the first-level cache;
// a is padded to a multiple of 4 with zeros, which no step changes.
//
// One pass over the pairs does a whole iteration. First comes Adam on S with the gradient of the pass
// before (A and B have theirs before the pass). Then T = S B, E = A T - W̄, G = 2 E diag(w), V = Aᵀ G and
// dS = V Bᵀ are computed. The least squares of one group follow; its change has rank one in T, G, V and dS
// and is added to them. Last, dA += G Tᵀ and dB += Sᵀ V, for the next pass. These are six products a pair.

import { adam, adamCore, keepGradient, refineGroup, refineScratch, weighErrors } from "../lib/armor-core";
import { drawGroup, groupNorms } from "../lib/armor-group";
import { transposeFourRows } from "../lib/pack";
import { tileProduct } from "../lib/tile";

/** What a pass does besides measuring: nothing, or Adam and a group that an f32 draws or an i32 names. */
const MEASURE: i32 = 0;
const PICK: i32 = 2;

/** Sizes and addresses, filled in this order by the binding. */
// @ts-ignore: decorator
@unmanaged
class Layer {
  a: i32;
  b: i32;
  /** Blocks of B. */
  across: i32;
  left: usize;
  leftGradient: usize;
  right: usize;
  rightTransposed: usize;
  /** [across, b]: 2 w */
  weights: usize;
  /** [pairs, a, b]: -W̄; core, first, second and gradient likewise. */
  target: usize;
  core: usize;
  /** u8 [pairs, a, b / 4]: the kept places of each group as bits. */
  codes: usize;
  first: usize;
  second: usize;
  gradient: usize;
  /** [16, 4]: lane masks of the codes. */
  masks: usize;
  ridge: f32;
}

/** Fills [16, 4] lane masks: all bits where a code's bit is 1. */
export function armorMasks(masks: usize): void {
  for (let i: usize = 0; i < 64; i++) {
    store<i32>(masks + (i << 2), (i >> 2) & (1 << (i & 3)) ? -1 : 0);
  }
}

/** out [count, size, size] = the transposes of `blocks`; size is a multiple of 4. */
export function armorTranspose(blocks: usize, out: usize, count: i32, size: i32): void {
  for (let i = 0; i < count; i++) {
    transpose(size, size, blocks, out);
    blocks += <usize>(size * size) << 2;
    out += <usize>(size * size) << 2;
  }
}

/** out [cols, rows] = x [rows, cols]ᵀ; both multiples of 4. */
function transpose(rows: i32, cols: i32, x: usize, out: usize): void {
  const ld = <usize>cols << 2;
  for (let i = 0; i < rows; i += 4) {
    transposeFourRows(x + <usize>i * ld, ld, cols, 1, out + (<usize>i << 2), <usize>rows << 2);
  }
}

/** Adam on `count` values, a multiple of 4; clears their gradient. Rates as for `armorPass`. */
export function armorAdam(
  values: usize,
  gradient: usize,
  first: usize,
  second: usize,
  count: i32,
  step: f32,
  correction: f32,
): void {
  const zero = f32x4.splat(0);
  for (; count > 0; count -= 4) {
    const change = adam(v128.load(gradient), first, second, step, correction);
    v128.store(values, f32x4.sub(v128.load(values), change));
    v128.store(gradient, zero);
    values += 16;
    gradient += 16;
    first += 16;
    second += 16;
  }
}

/** sum [size] += each of `count` parts [size] in turn, which become 0; size is a multiple of 4. */
export function armorGather(size: i32, count: i32, parts: usize, sum: usize): void {
  const zero = f32x4.splat(0);
  const step = <usize>size << 2;
  for (let at: usize = 0; at < step; at += 16) {
    let value = v128.load(sum + at);
    let from = parts + at;
    for (let part = count; part > 0; part--) {
      value = f32x4.add(value, v128.load(from));
      v128.store(from, zero);
      from += step;
    }
    v128.store(sum + at, value);
  }
}

export function armorScratch(a: i32, b: i32): usize {
  return (<usize>(5 * a * b) << 2) + refineScratch(a, b);
}

/**
 * A pass over `count` pairs from pair `first`; pairs are numbered row by row.
 *
 * @param at address of a Layer
 * @param mode MEASURE, DRAW = 1 or PICK
 * @param choices of all pairs, f32 to draw or i32 to pick; a pick out of range is skipped
 * @param step Adam's learning rate / (1 - beta1^t)
 * @param correction 1 / sqrt(1 - beta2^t)
 * @param rightGradients what the pairs add to dB is added here, [across, b, b]
 * @returns the pairs' share of f, after the pass
 */
export function armorPass(
  at: usize,
  first: i32,
  count: i32,
  mode: i32,
  choices: usize,
  step: f32,
  correction: f32,
  rightGradients: usize,
  scratch: usize,
): f64 {
  const layer = changetype<Layer>(at);
  const a = layer.a;
  const b = layer.b;
  const lda = <usize>a << 2;
  const ldb = <usize>b << 2;
  const size = <usize>a * ldb;
  const t = scratch;
  const g = t + size;
  const v = g + size;
  const d = v + size;
  const turned = d + size;
  const rest = turned + size;
  let loss: f64 = 0;
  for (let pair = first; pair < first + count; pair++) {
    const aBlock = <usize>(pair / layer.across) * <usize>a * lda;
    const q = <usize>(pair % layer.across);
    const bBlock = q * <usize>b * ldb;
    const offset = <usize>pair * size;
    const left = layer.left + aBlock;
    const leftGradient = layer.leftGradient + aBlock;
    const right = layer.right + bBlock;
    const turnedRight = layer.rightTransposed + bBlock;
    const rightGradient = rightGradients + bBlock;
    const weights = layer.weights + q * ldb;
    const core = layer.core + offset;
    const codes = layer.codes + (offset >> 4);
    const gradient = layer.gradient + offset;
    const masks = layer.masks;
    if (mode != MEASURE) {
      const m = layer.first + offset;
      adamCore(core, codes, masks, gradient, m, layer.second + offset, a * b, step, correction);
    }
    tileProduct(a, b, b, core, ldb, 4, right, ldb, 0, t, ldb);
    tileProduct(a, b, a, left, lda, 4, t, ldb, layer.target + offset, g, ldb);
    loss += weighErrors(a, b, weights, g);
    tileProduct(a, b, a, left, 4, lda, g, ldb, 0, v, ldb);
    tileProduct(a, b, b, v, ldb, 4, turnedRight, ldb, 0, d, ldb);
    if (mode != MEASURE) {
      const choice = choices + (<usize>pair << 2);
      const groups = (a * b) >> 2;
      let group: i32;
      if (mode == PICK) group = load<i32>(choice);
      else group = drawGroup(turned, groups, groupNorms(d, groups, turned), load<f32>(choice));
      if (group >= 0 && group < groups) {
        const ridge = <f64>layer.ridge;
        loss -= refineGroup(a, b, group, left, right, turnedRight, weights, ridge, core, codes, t, rest);
      }
    }
    transpose(a, b, t, turned);
    tileProduct(a, a, b, g, ldb, 4, turned, lda, leftGradient, leftGradient, lda);
    tileProduct(b, b, a, core, 4, ldb, v, ldb, rightGradient, rightGradient, ldb);
    keepGradient(a * b, d, codes, masks, gradient);
  }
  return loss;
}
