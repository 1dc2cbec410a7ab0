import * as assert from "uvu/assert";
import type { ArmorState, Backend } from "../../src/backend.js";
import type { ArmorProblem, ArmorShape } from "../../src/backends/reference/armor-problem.js";
import { blank, input, outputBytes, randomValues } from "./operands.js";

/** Rows, columns, size of A's blocks, size of B's. */
export type Shape = readonly [number, number, number, number];

export interface Layer extends ArmorShape {
  readonly target: Float32Array;
  readonly importance: Float32Array;
  readonly mask: Uint8Array;
}

/** A random layer whose larger half of each group of 4 is kept. */
export function layerOf([rows, cols, blockRows, blockCols]: Shape): Layer {
  const target = randomValues(rows * cols);
  const importance = randomValues(cols).map((x) => 0.1 + 10 * x * x);
  const mask = new Uint8Array(target.length);
  for (let group = 0; group < mask.length; group += 4) {
    const places = [0, 1, 2, 3].map((i) => group + i);
    places.sort((i, j) => Math.abs(target[j]) - Math.abs(target[i]));
    mask[places[0]] = mask[places[1]] = 1;
  }
  return { rows, cols, blockRows, blockCols, target, importance, mask };
}

export type Factors = Pick<ArmorProblem, "left" | "right" | "core">;

/** The factors that every optimisation starts from. */
export function startOf({ rows, cols, blockRows, blockCols, target, mask }: Layer): Factors {
  const identities = (length: number, size: number) =>
    Float64Array.from({ length: length * size }, (_, i) =>
      Number(i % size === Math.floor(i / size) % size),
    );
  return {
    left: identities(rows, blockRows),
    right: identities(cols, blockCols),
    core: Float64Array.from(target, (w, i) => w * mask[i]),
  };
}

/** A matrix of `size` rows and columns from its blocks along the diagonal. */
function dense(blocks: ArrayLike<number>, size: number, block: number): number[][] {
  return Array.from({ length: size }, (_, i) =>
    Array.from({ length: size }, (_, j) =>
      Math.floor(i / block) === Math.floor(j / block) ? blocks[i * block + (j % block)] : 0,
    ),
  );
}

function product(a: readonly number[][], b: readonly number[][]): number[][] {
  return a.map((row) => {
    const sums = new Array<number>(b[0]?.length ?? 0).fill(0);
    row.forEach((x, k) => {
      if (x === 0) return;
      for (let j = 0; j < sums.length; j++) sums[j] += x * b[k][j];
    });
    return sums;
  });
}

function transposed(a: readonly number[][], rows: number): number[][] {
  return Array.from({ length: rows }, (_, j) => a.map((row) => row[j]));
}

/** f by whole dense matrices, and G = df/dŴ with what it was made of. */
function residual(layer: Layer, { left, right, core }: Factors) {
  const { rows, cols, blockRows, blockCols, target, importance } = layer;
  const energy = target.reduce((sum, w, i) => sum + w * w * importance[i % cols], 0);
  const A = dense(left, rows, blockRows);
  const B = dense(right, cols, blockCols);
  const S = Array.from({ length: rows }, (_, i) => [...core.slice(i * cols, (i + 1) * cols)]);
  const SB = product(S, B);
  let proxy = 0;
  const G = product(A, SB).map((row, i) =>
    row.map((w, j) => {
      const error = w - target[i * cols + j];
      proxy += (importance[j] * error * error) / energy;
      return (2 * importance[j] * error) / energy;
    }),
  );
  return { proxy, G, A, B, S, SB };
}

/** Blocks along the diagonal of a matrix, one after another. */
function blocksOf(matrix: readonly number[][], block: number): number[] {
  return matrix.flatMap((row, i) => {
    const start = i - (i % block);
    return row.slice(start, start + block);
  });
}

/** f and its gradients: dA = G (SB)ᵀ, dB = (AS)ᵀ G, dS = Aᵀ G Bᵀ. */
export function measure(layer: Layer, factors: Factors) {
  const { rows, cols, blockRows, blockCols } = layer;
  const { proxy, G, A, B, S, SB } = residual(layer, factors);
  return {
    proxy,
    left: blocksOf(product(G, transposed(SB, cols)), blockRows),
    right: blocksOf(product(transposed(product(A, S), cols), G), blockCols),
    core: product(product(transposed(A, rows), G), transposed(B, cols)).flat(),
  };
}

export async function openState(backend: Backend, layer: Layer): Promise<ArmorState> {
  const { cols, blockRows, blockCols, target, importance, mask } = layer;
  return backend.ops.armorOpen(
    input(backend, target, cols),
    input(backend, importance, cols),
    input(backend, mask, cols),
    { blockRows, blockCols },
  );
}

export async function readState(backend: Backend, state: ArmorState, layer: Layer) {
  const { rows, cols, blockRows, blockCols } = layer;
  const core = blank(backend, rows * cols, cols);
  const mask = outputBytes(backend, rows * cols, cols);
  const left = blank(backend, rows * blockRows, blockRows);
  const right = blank(backend, cols * blockCols, blockCols);
  const views = { core: core.view, mask: mask.view, left: left.view, right: right.view };
  backend.ops.armorRead(state, views);
  const [S, kept] = [await core.read(), await mask.read()];
  assert.ok(S.every((value, i) => kept[i] === 1 || value === 0));
  for (let group = 0; group < kept.length; group += 4) {
    assert.is(kept[group] + kept[group + 1] + kept[group + 2] + kept[group + 3], 2);
  }
  const [A, B] = [await left.read(), await right.read()];
  return {
    core: Float64Array.from(S),
    mask: kept,
    left: Float64Array.from(A),
    right: Float64Array.from(B),
  };
}

export function advance(
  backend: Backend,
  state: ArmorState,
  choices: Float32Array | Int32Array,
  learningRate: number,
): Promise<Float64Array> {
  const cols = Math.max(1, state.pairs);
  return backend.ops.armorAdvance(state, input(backend, choices, cols), { learningRate });
}

export const groupsOf = ({ blockRows, blockCols }: Layer) => (blockRows * blockCols) / 4;

/** Index of the first value of a pair's group. */
export function groupStart(
  { cols, blockRows, blockCols }: Layer,
  pair: number,
  group: number,
): number {
  const across = cols / blockCols;
  const row = Math.floor(pair / across) * blockRows + Math.floor((4 * group) / blockCols);
  return row * cols + (pair % across) * blockCols + ((4 * group) % blockCols);
}

/** The smallest f that two values in one group of the core can reach, all else fixed. */
export function bestOfGroup(layer: Layer, factors: Factors, at: number): number {
  const core = factors.core.slice();
  const valueAt = (s: readonly number[]) => {
    core.set(s, at);
    return residual(layer, { ...factors, core }).proxy;
  };
  // f is quadratic in the group's values: 15 evaluations give all of it.
  const unit = (i: number, j = i) => [0, 1, 2, 3].map((k) => Number(k === i || k === j));
  const zero = valueAt([0, 0, 0, 0]);
  const plus = [0, 1, 2, 3].map((i) => valueAt(unit(i)));
  const minus = [0, 1, 2, 3].map((i) => valueAt(unit(i).map((x) => -x)));
  const slope = plus.map((p, i) => (p - minus[i]) / 2);
  const curvature = plus.map((p, i) => p + minus[i] - 2 * zero);
  let best = zero;
  for (let i = 0; i < 4; i++) {
    for (let j = i + 1; j < 4; j++) {
      const mixed =
        valueAt(unit(i, j)) - zero - slope[i] - slope[j] - (curvature[i] + curvature[j]) / 2;
      const determinant = curvature[i] * curvature[j] - mixed * mixed;
      const x = (mixed * slope[j] - curvature[j] * slope[i]) / determinant;
      const y = (mixed * slope[i] - curvature[i] * slope[j]) / determinant;
      best = Math.min(best, zero + (slope[i] * x + slope[j] * y) / 2);
    }
  }
  return best;
}
