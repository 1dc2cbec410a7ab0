/** The losses of rotations from their definitions, in float64. */
import type { RotationObjective, RotationPattern } from "../../src/rotation.js";
import { type BlockShape, type RandomBlock, shapesOf } from "./random.js";

export type Matrix = number[][];
/** Weights kept of a group's. */
type Groups = readonly [n: number, m: number];

/** A loss, and for "removed" the groups that rows of each length are expected to be cut into. */
export interface Case {
  readonly objective: RotationObjective;
  readonly scoreDamping: number;
  readonly shape: BlockShape;
  readonly pattern?: RotationPattern;
  readonly groupSize?: number | "row";
  readonly power?: number;
  readonly hidden?: Groups;
  readonly heads?: Groups;
  readonly intermediate?: Groups;
}

export function matrix(data: ArrayLike<number>, cols: number): Matrix {
  return Array.from({ length: data.length / cols }, (_, i) =>
    Array.from({ length: cols }, (_, j) => data[i * cols + j]),
  );
}

function multiply(a: Matrix, b: Matrix): Matrix {
  return a.map((row) => b[0].map((_, j) => row.reduce((sum, x, k) => sum + x * b[k][j], 0)));
}

function transpose(a: Matrix): Matrix {
  return a[0].map((_, j) => a.map((row) => row[j]));
}

function identity(n: number): Matrix {
  return Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => +(i === j)));
}

/** Gauss-Jordan elimination; the matrices here are well conditioned. */
function invert(a: Matrix): Matrix {
  const n = a.length;
  const rows = a.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let p = 0; p < n; p++) {
    const scale = rows[p][p];
    rows[p] = rows[p].map((x) => x / scale);
    for (let i = 0; i < n; i++) {
      const factor = rows[i][p];
      if (i !== p) rows[i] = rows[i].map((x, j) => x - factor * rows[p][j]);
    }
  }
  return rows.map((row) => row.slice(n));
}

function entropyOfRows(importance: Matrix): number {
  let sum = 0;
  for (const row of importance) {
    const total = row.reduce((a, b) => a + b, 0);
    for (const value of row) if (value > 0) sum -= (value / total) * Math.log(value / total);
  }
  return sum;
}

/** in * lost / total of each row, where a group of `m` keeps its `n` largest. */
function removedOfRows(importance: Matrix, [n, m]: Groups): number {
  let sum = 0;
  for (const row of importance) {
    let kept = 0;
    for (let first = 0; first < row.length; first += m) {
      const sorted = row.slice(first, first + m).sort((a, b) => b - a);
      kept += sorted.slice(0, n).reduce((a, b) => a + b, 0);
    }
    const total = row.reduce((a, b) => a + b, 0);
    sum += row.length * (1 - kept / total);
  }
  return sum;
}

/** Σ over rows and groups of (mean |w|^p)^(2/p) times the sum of the group's scales. */
function roundingOfRows(w: Matrix, scales: number[], c: Case): number {
  const { groupSize = 32, power = 8 } = c;
  const size = groupSize === "row" ? scales.length : groupSize;
  let sum = 0;
  for (const row of w) {
    for (let first = 0; first < row.length; first += size) {
      const group = row.slice(first, first + size);
      const mean = group.reduce((all, x) => all + Math.abs(x) ** power, 0) / group.length;
      const h = scales.slice(first, first + size).reduce((all, x) => all + x, 0);
      sum += h * mean ** (2 / power);
    }
  }
  return sum;
}

/** Each key-value head's matrix along a diagonal, once for every head that uses it. */
function alongDiagonal(r2: Matrix, { kvHeads, headDim }: BlockShape, heads: number): Matrix {
  const n = heads * headDim;
  return Array.from({ length: n }, (_, i) =>
    Array.from({ length: n }, (_, j) => {
      const head = Math.floor(i / headDim);
      if (head !== Math.floor(j / headDim)) return 0;
      const kvHead = Math.floor(head / (heads / kvHeads));
      return r2[kvHead * headDim + (i % headDim)][j % headDim];
    }),
  );
}

/** What rounding each linear costs in the turned block; of v and o alone without Q. */
function roundingsOf(block: RandomBlock, c: Case, given: Matrix | undefined, r2: Matrix): number[] {
  const { shape } = block;
  const q = given ?? identity(shape.hidden);
  const w = (name: string) => matrix(block.weights[name], shapesOf(shape)[name][1]);
  const values = alongDiagonal(r2, shape, shape.kvHeads);
  const outputs = alongDiagonal(r2, shape, shape.heads);
  const cost = (m: Matrix, input: string, turn: Matrix) =>
    roundingOfRows(m, scaleOf(block, c, input, turn), c);
  const reads = (name: string, input: string) => cost(multiply(w(name), q), input, q);
  const v = multiply(transpose(values), multiply(w("self_attn.v_proj"), q));
  const o = multiply(multiply(transpose(q), w("self_attn.o_proj")), outputs);
  const heads = [cost(v, "self_attn.q_proj", q), cost(o, "self_attn.o_proj", outputs)];
  if (!given) return heads;
  return [
    ...heads,
    reads("self_attn.q_proj", "self_attn.q_proj"),
    reads("self_attn.k_proj", "self_attn.q_proj"),
    reads("mlp.gate_proj", "mlp.gate_proj"),
    reads("mlp.up_proj", "mlp.gate_proj"),
    cost(multiply(transpose(q), w("mlp.down_proj")), "mlp.down_proj", identity(shape.intermediate)),
  ];
}

/** Each linear's rounding as a share of what it costs without a rotation, summed. */
function roundingOracle(
  block: RandomBlock,
  c: Case,
  given: Matrix | undefined,
  r2: Matrix,
): number {
  const { hidden, kvHeads, headDim } = block.shape;
  const flat = Array.from({ length: kvHeads }, () => identity(headDim)).flat();
  const before = roundingsOf(block, c, given && identity(hidden), flat);
  return roundingsOf(block, c, given, r2).reduce((sum, cost, i) => sum + cost / before[i], 0);
}

/** What an objective scales the squares of a turned input's weights by. */
function scaleOf({ hessians }: RandomBlock, c: Case, input: string, turn: Matrix): number[] {
  const { objective, scoreDamping } = c;
  if (objective === "magnitude") return turn.map(() => 1);
  const h = matrix(hessians[input], turn.length);
  const mean = h.reduce((sum, row, i) => sum + row[i], 0) / h.length;
  const plus = (m: Matrix, share: number) =>
    m.map((row, i) => row.map((x, j) => (i === j ? x + share * mean : x)));
  if (objective === "wanda") {
    return multiply(transpose(turn), multiply(h, turn)).map((row, i) => row[i]);
  }
  const inverse = plus(invert(plus(h, 0.01)), scoreDamping);
  return multiply(transpose(turn), multiply(inverse, turn)).map((row, i) => 1 / row[i]);
}

/** The loss from its definition, in float64, with every weight rotated whole; of v and o without Q. */
export function oracle(block: RandomBlock, c: Case, given: Matrix | undefined, r2: Matrix): number {
  if (c.power) return roundingOracle(block, c, given, r2);
  const q = given ?? identity(c.shape.hidden);
  const { shape } = block;
  const shapes = shapesOf(shape);
  const w = (name: string) => matrix(block.weights[name], shapes[name][1]);
  const values = alongDiagonal(r2, shape, shape.kvHeads);
  const outputs = alongDiagonal(r2, shape, shape.heads);
  const scale = (input: string, turn: Matrix) => scaleOf(block, c, input, turn);
  const importance = (m: Matrix, scales: number[]) =>
    m.map((row) => row.map((x, j) => x * x * scales[j]));
  const [sq, sg] = [scale("self_attn.q_proj", q), scale("mlp.gate_proj", q)];
  const v = importance(multiply(transpose(values), multiply(w("self_attn.v_proj"), q)), sq);
  const o = importance(
    multiply(multiply(transpose(q), w("self_attn.o_proj")), outputs),
    scale("self_attn.o_proj", outputs),
  );
  const sum = (values: number[]) => values.reduce((total, x) => total + x, 0);
  if (!given) {
    if (!c.hidden || !c.heads) return sum([v, transpose(v), o, transpose(o)].map(entropyOfRows));
    return removedOfRows(v, c.hidden) + removedOfRows(o, c.heads);
  }
  const down = multiply(transpose(q), w("mlp.down_proj")).map((row) => row.map((x) => x * x));
  const turned = [
    importance(multiply(w("self_attn.q_proj"), q), sq),
    importance(multiply(w("self_attn.k_proj"), q), sq),
    v,
    importance(multiply(w("mlp.gate_proj"), q), sg),
    importance(multiply(w("mlp.up_proj"), q), sg),
  ];
  if (c.hidden && c.heads && c.intermediate) {
    const removed = turned.map((rows) => removedOfRows(rows, c.hidden!));
    return sum(removed) + removedOfRows(o, c.heads) + removedOfRows(down, c.intermediate);
  }
  const both = [transpose(v), o, transpose(o), transpose(down)];
  return sum([...turned, ...both].map(entropyOfRows));
}
