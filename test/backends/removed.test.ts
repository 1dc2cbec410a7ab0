import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import {
  AXES,
  type Axis,
  compareLoss,
  type Expected,
  factorOf,
  type LineCase,
  placeOf,
  unlikeWeights as weights,
} from "./lines.js";
import { EPSILON, input, OPENERS, seed } from "./operands.js";

const test = suite("removed importance");

interface Case extends LineCase {
  readonly keep: number;
  readonly of: number;
}

interface Line {
  /** Where its elements are in the matrix. */
  readonly at: readonly number[];
  readonly importance: readonly number[];
  readonly total: number;
  /** Places in the line that the pattern removes. */
  readonly removed: ReadonlySet<number>;
}

/** Straight from the definition, in float64. */
function linesOf(c: Case): Line[] {
  const { axis, rows, cols, keep, of, w } = c;
  const [lines, length] = axis === "rows" ? [rows, cols] : [cols, rows];
  return Array.from({ length: lines }, (_, line) => {
    const places = [...Array(length).keys()];
    const at = places.map((i) => placeOf(c, line, i));
    const importance = places.map((i) => w[at[i]] ** 2 * factorOf(c, i));
    const removed = places.filter((i) => {
      const group = places.filter((j) => Math.floor(j / of) === Math.floor(i / of));
      const before = group.filter(
        (j) => importance[j] < importance[i] || (importance[j] === importance[i] && j < i),
      );
      return before.length < of - keep;
    });
    const total = importance.reduce((sum, x) => sum + x, 0);
    return { at, importance, total, removed: new Set(removed) };
  });
}

function lossOf(lines: readonly Line[]): number {
  let loss = 0;
  for (const { importance, removed, total } of lines) {
    let lost = 0;
    for (const i of removed) lost += importance[i];
    if (total > 0) loss += (importance.length * lost) / total;
  }
  return loss;
}

/** Derivatives, and how far float32 may be off: some roundings of parts that may cancel. */
function oracle(c: Case): Expected {
  const length = c.axis === "rows" ? c.cols : c.rows;
  const gradient = new Float64Array(c.w.length);
  const gradientBound = new Float64Array(c.w.length);
  const byScale = new Float64Array(length);
  const byScaleBound = new Float64Array(length).fill(1e-30);
  const lines = linesOf(c);
  for (const { at, importance, removed, total } of lines) {
    if (total === 0) continue;
    const share = [...removed].reduce((sum, i) => sum + importance[i], 0) / total;
    for (let i = 0; i < length; i++) {
      const slope = (length * (Number(removed.has(i)) - share)) / total;
      const size = (12 * EPSILON * length) / total;
      const byWeight = 2 * c.w[at[i]] * factorOf(c, i);
      gradient[at[i]] = byWeight * slope;
      gradientBound[at[i]] = Math.abs(byWeight) * size;
      const byFactor = c.w[at[i]] ** 2 * (c.inverse ? -(factorOf(c, i) ** 2) : 1);
      byScale[i] += byFactor * slope;
      byScaleBound[i] += Math.abs(byFactor) * size;
    }
  }
  const tolerance = 8 * EPSILON * c.w.length;
  return { loss: lossOf(lines), tolerance, gradient, gradientBound, byScale, byScaleBound };
}

function operationOf(backend: Backend, axis: Axis) {
  return axis === "rows" ? backend.ops.removedRows : backend.ops.removedColumns;
}

function compare(backend: Backend, c: Case): Promise<void> {
  const { axis, rows, cols, keep, of, inverse } = c;
  const scaled = c.scale ? (inverse ? " divided" : " scaled") : "";
  const what = `${backend.name} ${keep}:${of} ${axis} [${rows}, ${cols}]${scaled}`;
  const operation = operationOf(backend, axis);
  const run: typeof backend.ops.entropyRows = (w, gradient, options) =>
    operation(w, gradient, { keep, of, ...options });
  return compareLoss(backend, run, c, oracle(c), what);
}

/** Draws weights anew until no two of a group are so alike that float32 may order them otherwise. */
function withoutTies(given: Omit<Case, "w">): Case {
  const { axis, rows, cols, of } = given;
  const w = weights(rows * cols);
  const length = axis === "rows" ? cols : rows;
  const lines = rows * cols === 0 ? 0 : (rows * cols) / length;
  for (let line = 0; line < lines; line++) {
    for (let first = 0; first < length; first += of) {
      const places = Array.from({ length: of }, (_, i) => first + i);
      const at = (i: number) => (axis === "rows" ? line * cols + i : i * cols + line);
      const c = { ...given, w };
      for (;;) {
        const sorted = places.map((i) => w[at(i)] ** 2 * factorOf(c, i)).sort((a, b) => a - b);
        if (sorted.every((x, i) => i === 0 || x > sorted[i - 1] * (1 + 1e-5))) break;
        for (const i of places) w[at(i)] = weights(1)[0];
      }
    }
  }
  return { ...given, w };
}

function scales(length: number): Float32Array {
  return weights(length).map((x) => Math.abs(x) + 1e-4);
}

const PATTERNS: readonly (readonly [number, number])[] = [
  [2, 4],
  [1, 4],
  [3, 4],
  [4, 8],
  [1, 2],
  [2, 3],
  [5, 7],
  [8, 16],
  [1, 1],
  [0, 4],
  [4, 4],
];

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  // A software adapter takes milliseconds for each: fewer, around a workgroup's 16 lines.
  const isGpu = backend.name === "webgpu";
  const groupCounts = isGpu ? [0, 1, 2, 9] : [0, 1, 2, 3, 4, 5, 9];
  const counts = isGpu ? [0, 1, 15, 17] : [0, 1, 2, 3, 4, 5, 8, 9, 33];
  for (const axis of AXES) {
    for (const [keep, of] of PATTERNS) {
      test(`${backend.name}: ${keep}:${of} of ${axis} of any shape, with and without a scale`, async () => {
        for (const length of groupCounts.map((groups) => groups * of)) {
          for (const count of counts) {
            const [rows, cols] = axis === "rows" ? [count, length] : [length, count];
            if (cols === 0 && rows > 0) continue;
            const given = { axis, rows, cols, keep, of };
            await compare(backend, withoutTies(given));
            const scale = scales(length);
            await compare(backend, withoutTies({ ...given, scale }));
            await compare(backend, withoutTies({ ...given, scale, inverse: true }));
          }
        }
      });
    }

    test(`${backend.name}: one large matrix by ${axis}`, async () => {
      const [rows, cols] = axis === "rows" ? [131, 1036] : [516, 257];
      const scale = scales(axis === "rows" ? cols : rows);
      await compare(backend, withoutTies({ axis, rows, cols, keep: 2, of: 4, scale }));
    });

    test(`${backend.name}: derivatives along ${axis} are those of finite differences`, async () => {
      for (const [keep, of] of PATTERNS) {
        for (const inverse of [false, true]) {
          const [rows, cols] = axis === "rows" ? [3, 2 * of] : [2 * of, 3];
          const scale = scales(2 * of);
          const c = withoutTies({ axis, rows, cols, keep, of, scale, inverse });
          const gradient = backend.zeros([rows, cols]);
          const scaleGradient = backend.zeros([2 * of]);
          const options = { keep, of, inverse, scale: backend.upload(scale, [2 * of]) };
          await operationOf(backend, axis)(
            backend.upload(Float32Array.from(c.w), [rows, cols]),
            gradient,
            { ...options, scaleGradient },
          );
          const check = async (actual: ArrayLike<number>, name: "w" | "scale") => {
            const values = Float64Array.from(c[name]!);
            for (let i = 0; i < values.length; i++) {
              const width = 1e-7 * Math.abs(values[i]);
              const moved = (by: number) =>
                lossOf(linesOf({ ...c, [name]: values.map((x, j) => (i === j ? x + by : x)) }));
              const slope = (moved(width) - moved(-width)) / (2 * width);
              // The differences' own rounding, and float32's.
              const bound = 1e-7 * (cols * rows + Math.abs(slope * values[i]));
              const error = Math.abs(actual[i] - slope) * Math.abs(values[i]);
              assert.ok(
                error <= 20 * bound,
                `${backend.name} ${axis} ${keep}:${of} ${name} ${i}: ${actual[i]}, ${slope}`,
              );
            }
          };
          await check((await backend.read(gradient)) as Float32Array, "w");
          await check((await backend.read(scaleGradient)) as Float32Array, "scale");
        }
      }
    });

    test(`${backend.name}: of equals in ${axis} the lowest go first`, async () => {
      for (const [keep, of] of PATTERNS) {
        const length = 3 * of;
        const [rows, cols] = axis === "rows" ? [2, length] : [length, 2];
        const w = new Float32Array(rows * cols).fill(-0.5);
        await compare(backend, { axis, rows, cols, keep, of, w });
        // Two levels: ties within each.
        const levels = w.map((x, i) => (((i * 5) % 7) % 2 === 0 ? x : 2 * x));
        await compare(backend, { axis, rows, cols, keep, of, w: levels });
      }
    });

    test(`${backend.name}: zero weights, zero ${axis} and zero scales count nothing`, async () => {
      const [rows, cols] = [8, 12];
      const w = weights(rows * cols).map((x, i) => {
        const line = axis === "rows" ? Math.floor(i / cols) : i % cols;
        return line === 2 || i % 5 === 0 ? 0 : x;
      });
      const scale = new Float32Array(axis === "rows" ? cols : rows).fill(0.5);
      scale[3] = 0;
      const given = { axis, rows, cols, keep: 2, of: 4 };
      await compare(backend, { ...given, w, scale });
      await compare(backend, { ...given, w: new Float32Array(rows * cols) });
      // Importance that float32 cannot tell from zero.
      const gradient = backend.zeros([rows, cols]);
      const tiny = backend.upload(new Float32Array(rows * cols).fill(1e-22), [rows, cols]);
      assert.is(await operationOf(backend, axis)(tiny, gradient, { keep: 2, of: 4 }), 0);
      const slopes = (await backend.read(gradient)) as Float32Array;
      assert.ok(slopes.every((slope) => slope === 0));
      // The least that it can: no overflow on the way.
      const small = new Float32Array(rows * cols).fill(3e-19);
      await compare(backend, { ...given, w: small });
    });

    test(`${backend.name}: NaN in ${axis} is not hidden`, async () => {
      const w = weights(64);
      w[11] = Number.NaN;
      const operation = operationOf(backend, axis);
      const loss = await operation(input(backend, w, 8), backend.zeros([8, 8]), { keep: 2, of: 4 });
      assert.ok(Number.isNaN(loss), String(loss));
    });
  }

  test(`${backend.name}: even importance loses the weights that go, sparse importance none`, async () => {
    const gradient = backend.zeros([1, 16]);
    const even = backend.upload(new Float32Array(16).fill(0.3), [1, 16]);
    const options = { keep: 3, of: 8 };
    const loss = await backend.ops.removedRows(even, gradient, options);
    assert.ok(Math.abs(loss - 10) < 1e-5, `seed ${seed}: ${loss}`);
    const sparse = new Float32Array(16).map((_, i) => (i % 8 < 3 ? 1 + i : 0));
    const none = backend.upload(sparse, [1, 16]);
    assert.is(await backend.ops.removedRows(none, gradient, options), 0);
  });

  test(`${backend.name}: operands that do not fit are refused`, async () => {
    const { ops } = backend;
    const [w, out] = [backend.zeros([4, 6]), backend.zeros([4, 6])];
    const pattern = { keep: 2, of: 4 };
    assert.throws(() => ops.removedRows(w, out, pattern), /6 columns are not a multiple of M=4/);
    assert.throws(
      () => ops.removedColumns(w, out, { keep: 2, of: 3 }),
      /4 rows are not a multiple/,
    );
    assert.throws(() => ops.removedRows(w, out, { keep: 3, of: 2 }), /3:2 must keep 0 <= N <= M/);
    assert.throws(() => ops.removedRows(w, out, { keep: 3, of: 17 }), /M at most 16/);
    const scale = backend.zeros([6]);
    assert.throws(() => ops.removedColumns(w, out, { ...pattern, scale }), /scale has 6/);
    assert.throws(() => ops.removedColumns(w, backend.zeros([6, 4]), pattern), /gradient is/);
  });
}

test.run();
