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
import { EPSILON, input, OPENERS } from "./operands.js";

const test = suite("rounding loss");

interface Case extends LineCase {
  readonly groupSize: number;
  readonly power: number;
}

/** Straight from the definition, in float64: each group's places along the lines and in the matrix. */
function groupsOf(c: Case) {
  const { axis, rows, cols, groupSize, w } = c;
  const [lines, length] = axis === "rows" ? [rows, cols] : [cols, rows];
  return Array.from({ length: lines }, (_, line) =>
    Array.from({ length: Math.ceil(length / groupSize) }, (__, k) => {
      const size = Math.min(groupSize, length - k * groupSize);
      const places = Array.from({ length: size }, (___, i) => k * groupSize + i);
      const at = places.map((i) => placeOf(c, line, i));
      const factor = places.reduce((sum, i) => sum + factorOf(c, i), 0);
      return { places, at, factor, values: at.map((i) => w[i]) };
    }),
  ).flat();
}

/** (mean |w|^p)^(1/p) */
function normOf(values: readonly number[], power: number): number {
  const mean = values.reduce((sum, w) => sum + Math.abs(w) ** power, 0) / values.length;
  return mean ** (1 / power);
}

function lossOf(c: Case): number {
  const groups = groupsOf(c);
  return groups.reduce((sum, { values, factor }) => sum + factor * normOf(values, c.power) ** 2, 0);
}

/** Derivatives, and how far float32 may be off: some roundings of what is raised to a power. */
function oracle(c: Case): Expected {
  const { axis, rows, cols, power, inverse } = c;
  const length = axis === "rows" ? cols : rows;
  const gradient = new Float64Array(c.w.length);
  const byScale = new Float64Array(length);
  for (const { places, at, factor, values } of groupsOf(c)) {
    const norm = normOf(values, power);
    for (const [i, w] of values.entries()) {
      if (norm > 0) {
        const ratio = (Math.abs(w) / norm) ** (power - 1);
        gradient[at[i]] = (2 * factor * norm * ratio * Math.sign(w)) / values.length;
      }
      byScale[places[i]] += norm ** 2 * (inverse ? -(factorOf(c, places[i]) ** 2) : 1);
    }
  }
  const loss = lossOf(c);
  const bound = (x: number) => 8 * (power + 8) * EPSILON * Math.abs(x) + 1e-30;
  return {
    loss,
    tolerance: bound(loss),
    gradient,
    gradientBound: gradient.map(bound),
    byScale,
    byScaleBound: byScale.map(bound),
  };
}

function operationOf(backend: Backend, axis: Axis) {
  return axis === "rows" ? backend.ops.roundingRows : backend.ops.roundingColumns;
}

function compare(backend: Backend, c: Case): Promise<void> {
  const { axis, rows, cols, groupSize, power, inverse } = c;
  const scaled = c.scale ? (inverse ? " divided" : " scaled") : "";
  const what = `${backend.name} ${groupSize} p=${power} ${axis} [${rows}, ${cols}]${scaled}`;
  const operation = operationOf(backend, axis);
  const run: typeof backend.ops.entropyRows = (w, gradient, options) =>
    operation(w, gradient, { groupSize, power, ...options });
  return compareLoss(backend, run, c, oracle(c), what);
}

function scales(length: number): Float32Array {
  return weights(length).map((x) => Math.abs(x) + 1e-4);
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  const counts = backend.name === "webgpu" ? [0, 1, 5, 17] : [0, 1, 2, 3, 4, 5, 8, 9, 33];
  for (const axis of AXES) {
    for (const power of [2, 4, 8, 16]) {
      test(`${backend.name}: p = ${power} along ${axis} of any shape and groups of any size`, async () => {
        for (const groupSize of [1, 3, 4, 6, 16, 100]) {
          for (const length of [1, 4, 7, 16, 37]) {
            for (const count of counts) {
              const [rows, cols] = axis === "rows" ? [count, length] : [length, count];
              if (cols === 0) continue;
              const given = { axis, rows, cols, groupSize, power, w: weights(rows * cols) };
              await compare(backend, given);
              const scale = scales(length);
              await compare(backend, { ...given, scale });
              await compare(backend, { ...given, scale, inverse: true });
            }
          }
        }
      });

      test(`${backend.name}: p = ${power} along ${axis}: derivatives are those of finite differences`, async () => {
        for (const inverse of [false, true]) {
          const [rows, cols] = axis === "rows" ? [3, 14] : [14, 3];
          // Not too unlike, so that none is lost beside the largest of its group.
          const w = weights(rows * cols).map((x) => Math.sign(x) * (0.5 + Math.abs(x)));
          const c: Case = { axis, rows, cols, groupSize: 6, power, w, scale: scales(14), inverse };
          const [gradient, scaleGradient] = [backend.zeros([rows, cols]), backend.zeros([14])];
          const scale = backend.upload(Float32Array.from(c.scale!), [14]);
          const given = { groupSize: 6, power, inverse, scale, scaleGradient };
          await operationOf(backend, axis)(input(backend, w, cols), gradient, given);
          const check = async (actual: ArrayLike<number>, name: "w" | "scale") => {
            const values = Float64Array.from(c[name]!);
            for (let i = 0; i < values.length; i++) {
              const width = 1e-5 * Math.abs(values[i]);
              const moved = (by: number) =>
                lossOf({ ...c, [name]: values.map((x, j) => (i === j ? x + by : x)) });
              const slope = (moved(width) - moved(-width)) / (2 * width);
              const bound = 1e-4 * Math.abs(slope) + (1e-10 * lossOf(c)) / width;
              const error = Math.abs(actual[i] - slope);
              assert.ok(error <= bound, `${backend.name} ${name} ${i}: ${actual[i]}, ${slope}`);
            }
          };
          await check((await backend.read(gradient)) as Float32Array, "w");
          await check((await backend.read(scaleGradient)) as Float32Array, "scale");
        }
      });
    }

    test(`${backend.name}: groups of zeros count nothing, and NaN in ${axis} is not hidden`, async () => {
      const w = weights(64).map((x, i) => (Math.floor(i / 8) < 4 && i % 8 < 4 ? 0 : x));
      const given = { axis, rows: 8, cols: 8, groupSize: 4, power: 8 };
      await compare(backend, { ...given, w, scale: scales(8) });
      // Powers that float32 cannot tell from zero, unless they are of shares of the largest.
      await compare(backend, { ...given, w: w.map((x) => 1e-15 * x) });
      const gradient = backend.zeros([8, 8]);
      const none = input(backend, new Float32Array(64), 8);
      assert.is(await operationOf(backend, axis)(none, gradient, given), 0);
      w[11] = Number.NaN;
      const loss = await operationOf(backend, axis)(input(backend, w, 8), gradient, given);
      assert.ok(Number.isNaN(loss), String(loss));
    });
  }

  test(`${backend.name}: operands that do not fit are refused`, () => {
    const { ops } = backend;
    const [w, out] = [backend.zeros([4, 6]), backend.zeros([4, 6])];
    const given = { groupSize: 2, power: 8 };
    assert.throws(() => ops.roundingRows(w, out, { ...given, power: 3 }), /power is 3, must be 2/);
    assert.throws(() => ops.roundingColumns(w, out, { ...given, groupSize: 0 }), /groupSize is 0/);
    const scale = backend.zeros([6]);
    assert.throws(() => ops.roundingColumns(w, out, { ...given, scale }), /scale has 6/);
    assert.throws(() => ops.roundingRows(w, backend.zeros([6, 4]), given), /gradient is/);
  });
}

test.run();
