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
import { EPSILON, input, OPENERS, SIZES, seed } from "./operands.js";

const test = suite("entropy");

/** Straight from the definition, in float64; float32 rounds the parts of each term some times. */
function oracle(c: LineCase): Expected {
  const { axis, rows, cols, w, inverse = false } = c;
  const [lines, length] = axis === "rows" ? [rows, cols] : [cols, rows];
  const gradient = new Float64Array(w.length);
  const gradientBound = new Float64Array(w.length);
  const byScale = new Float64Array(length);
  const byScaleBound = new Float64Array(length).fill(1e-30);
  let loss = 0;
  for (let line = 0; line < lines; line++) {
    const at = (i: number) => placeOf(c, line, i);
    const importance = Array.from({ length }, (_, i) => w[at(i)] ** 2 * factorOf(c, i));
    const total = importance.reduce((a, b) => a + b, 0);
    const parts = importance.map((value) => value / total);
    const entropy = parts.reduce((e, p) => (p > 0 ? e - p * Math.log(p) : e), 0);
    if (total === 0) continue;
    loss += entropy;
    parts.forEach((p, i) => {
      if (p === 0) return;
      const slope = -(Math.log(p) + entropy) / total;
      const size = (12 * EPSILON * (Math.abs(Math.log(p)) + Math.log(length) + 1)) / total;
      const byWeight = 2 * w[at(i)] * factorOf(c, i);
      gradient[at(i)] = byWeight * slope;
      gradientBound[at(i)] = Math.abs(byWeight) * size;
      const byFactor = w[at(i)] ** 2 * (inverse ? -(factorOf(c, i) ** 2) : 1);
      byScale[i] += byFactor * slope;
      byScaleBound[i] += Math.abs(byFactor) * size;
    });
  }
  const tolerance = 4 * EPSILON * lines * (Math.log(length + 1) + 1);
  return { loss, tolerance, gradient, gradientBound, byScale, byScaleBound };
}

function operationOf(backend: Backend, axis: Axis) {
  return axis === "rows" ? backend.ops.entropyRows : backend.ops.entropyColumns;
}

function compare(backend: Backend, c: LineCase, what: string): Promise<void> {
  return compareLoss(backend, operationOf(backend, c.axis), c, oracle(c), what);
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  for (const axis of AXES) {
    test(`${backend.name}: entropies of ${axis} of any shape, with and without a scale`, async () => {
      for (const cols of SIZES) {
        for (const rows of cols === 0 ? [0] : [...SIZES, 61]) {
          const w = weights(rows * cols);
          const what = `${backend.name} ${axis} [${rows}, ${cols}]`;
          await compare(backend, { axis, rows, cols, w }, what);
          const scale = weights(axis === "rows" ? cols : rows).map((x) => Math.abs(x) + 1e-4);
          await compare(backend, { axis, rows, cols, w, scale }, `${what} scaled`);
          const inverse = true;
          await compare(backend, { axis, rows, cols, w, scale, inverse }, `${what} divided`);
        }
      }
    });

    test(`${backend.name}: one large matrix by ${axis}`, async () => {
      const [rows, cols] = [257, 1031];
      await compare(backend, { axis, rows, cols, w: weights(rows * cols) }, `${axis} large`);
    });

    test(`${backend.name}: zero weights, zero ${axis} and zero scales count nothing`, async () => {
      const [rows, cols] = [7, 9];
      const w = weights(rows * cols).map((x, i) => {
        const line = axis === "rows" ? Math.floor(i / cols) : i % cols;
        return line === 2 || i % 5 === 0 ? 0 : x;
      });
      const scale = new Float32Array(axis === "rows" ? cols : rows).fill(0.5);
      scale[3] = 0;
      await compare(backend, { axis, rows, cols, w, scale }, `${backend.name} ${axis} zeros`);
      const none = new Float32Array(rows * cols);
      await compare(backend, { axis, rows, cols, w: none }, `${backend.name} ${axis} all zero`);
    });

    test(`${backend.name}: NaN in ${axis} is not hidden`, async () => {
      const operation = operationOf(backend, axis);
      const w = weights(35);
      w[11] = Number.NaN;
      const sum = await operation(input(backend, w, 5), backend.zeros([7, 5]));
      assert.ok(Number.isNaN(sum), String(sum));
    });
  }

  test(`${backend.name}: an even row of n has the entropy log n, a single weight none`, async () => {
    const gradient = backend.zeros([1, 12]);
    const even = backend.upload(new Float32Array(12).fill(-0.3), [1, 12]);
    const log12 = await backend.ops.entropyRows(even, gradient);
    assert.ok(Math.abs(log12 - Math.log(12)) < 1e-6, `seed ${seed}`);
    const one = new Float32Array(12);
    one[7] = 5;
    const single = await backend.ops.entropyRows(backend.upload(one, [1, 12]), gradient);
    assert.ok(Math.abs(single) < 1e-6);
  });

  test(`${backend.name}: operands that do not fit are refused`, async () => {
    const w = backend.zeros([3, 5]);
    const bad = { scale: backend.zeros([3]) };
    assert.throws(() => backend.ops.entropyRows(w, backend.zeros([3, 5]), bad), /scale has 3/);
    assert.throws(() => backend.ops.entropyColumns(w, backend.zeros([5, 3])), /gradient is/);
    const lone = { scaleGradient: backend.zeros([5]) };
    assert.throws(() => backend.ops.entropyRows(w, backend.zeros([3, 5]), lone), /without a scale/);
  });
}

test.run();
