import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend, EntropyOptions } from "../../src/backend.js";
import {
  assertWithin,
  blank,
  EPSILON,
  input,
  OPENERS,
  output,
  random,
  randomValues,
  SIZES,
  seed,
} from "./operands.js";

const test = suite("entropy");

type Axis = "rows" | "columns";

interface Case {
  readonly axis: Axis;
  readonly rows: number;
  readonly cols: number;
  readonly w: Float32Array;
  readonly scale?: Float32Array;
  readonly inverse?: boolean;
}

interface Expected {
  readonly sum: number;
  readonly gradient: Float64Array;
  readonly byScale: Float64Array;
}

/** Straight from the definition, in float64. */
function oracle({ axis, rows, cols, w, scale, inverse = false }: Case): Expected {
  const [lines, length] = axis === "rows" ? [rows, cols] : [cols, rows];
  const at = (line: number, i: number) => (axis === "rows" ? line * cols + i : i * cols + line);
  const factor = (i: number) => {
    if (!scale) return 1;
    return inverse ? 1 / scale[i] : scale[i];
  };
  const gradient = new Float64Array(w.length);
  const byScale = new Float64Array(length);
  let sum = 0;
  for (let line = 0; line < lines; line++) {
    const importance = Array.from({ length }, (_, i) => w[at(line, i)] ** 2 * factor(i));
    const total = importance.reduce((a, b) => a + b, 0);
    const parts = importance.map((value) => value / total);
    const entropy = parts.reduce((e, p) => (p > 0 ? e - p * Math.log(p) : e), 0);
    if (total === 0) continue;
    sum += entropy;
    parts.forEach((p, i) => {
      if (p === 0) return;
      const slope = -(Math.log(p) + entropy) / total;
      gradient[at(line, i)] = 2 * w[at(line, i)] * factor(i) * slope;
      const byFactor = w[at(line, i)] ** 2 * slope;
      byScale[i] += inverse ? -byFactor / scale![i] ** 2 : byFactor;
    });
  }
  return { sum, gradient, byScale };
}

/** How far float32 may be off: each term by some roundings of its parts, which add in size. */
function bounds(c: Case): { readonly gradient: number[]; readonly byScale: number[] } {
  const { axis, rows, cols, w, scale, inverse = false } = c;
  const [lines, length] = axis === "rows" ? [rows, cols] : [cols, rows];
  const gradient = new Array<number>(w.length).fill(0);
  const byScale = new Array<number>(length).fill(1e-30);
  for (let line = 0; line < lines; line++) {
    const at = (i: number) => (axis === "rows" ? line * cols + i : i * cols + line);
    const factor = (i: number) => (scale ? (inverse ? 1 / scale[i] : scale[i]) : 1);
    let total = 0;
    for (let i = 0; i < length; i++) total += w[at(i)] ** 2 * factor(i);
    for (let i = 0; i < length; i++) {
      const p = (w[at(i)] ** 2 * factor(i)) / total;
      if (!(p > 0)) continue;
      const slope = (Math.abs(Math.log(p)) + Math.log(length) + 1) / total;
      gradient[at(i)] = 12 * EPSILON * 2 * Math.abs(w[at(i)]) * factor(i) * slope;
      byScale[i] += 12 * EPSILON * w[at(i)] ** 2 * slope * (inverse ? 1 / scale![i] ** 2 : 1);
    }
  }
  return { gradient, byScale };
}

async function compare(backend: Backend, c: Case, what: string): Promise<void> {
  const { axis, rows, cols, w, scale, inverse } = c;
  const length = axis === "rows" ? cols : rows;
  const expected = oracle(c);
  const bound = bounds(c);
  const operation = axis === "rows" ? backend.ops.entropyRows : backend.ops.entropyColumns;
  const gradient = blank(backend, w.length, cols);
  const byScale = blank(backend, length, 1);
  const options: EntropyOptions = scale
    ? { scale: input(backend, scale, 1), inverse, scaleGradient: byScale.view }
    : {};
  const sum = await operation(input(backend, w, cols), gradient.view, options);
  const lines = axis === "rows" ? rows : cols;
  const tolerance = 4 * EPSILON * lines * (Math.log(length + 1) + 1);
  assert.ok(Math.abs(sum - expected.sum) <= tolerance, `${what}: ${sum}, not ${expected.sum}`);
  assertWithin(await gradient.read(), expected.gradient, (i) => bound.gradient[i], what);
  if (scale) {
    const got = await byScale.read();
    assertWithin(got, expected.byScale, (i) => bound.byScale[i] + 1e-30, `${what}, by scale`);
  }
  if (w.length === 0) return;

  // Once more on top of what is there.
  const start = randomValues(w.length);
  const added = output(backend, start, cols);
  const startScale = randomValues(length);
  const addedScale = output(backend, startScale, 1);
  await operation(input(backend, w, cols), added.view, {
    ...(scale ? { ...options, scaleGradient: addedScale.view } : {}),
    accumulate: true,
  });
  assertWithin(
    await added.read(),
    expected.gradient.map((g, i) => g + start[i]),
    (i) => bound.gradient[i] + 2 * EPSILON * (1 + Math.abs(expected.gradient[i])),
    `${what}, added`,
  );
  if (!scale) return;
  assertWithin(
    await addedScale.read(),
    expected.byScale.map((g, i) => g + startScale[i]),
    (i) => bound.byScale[i] + 2 * EPSILON * (1 + Math.abs(expected.byScale[i])),
    `${what}, by scale, added`,
  );
}

/** Weights of very unlike sizes, as they are in models. */
function weights(size: number): Float32Array {
  return randomValues(size).map((x) => x * 10 ** (3 * random() - 3));
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  for (const axis of ["rows", "columns"] as const) {
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
      const operation = axis === "rows" ? backend.ops.entropyRows : backend.ops.entropyColumns;
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
