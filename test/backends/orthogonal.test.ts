import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  assertWithin,
  blank,
  EPSILON,
  input,
  OPENERS,
  output,
  randomValues,
  SIZES,
} from "./operands.js";

const test = suite("orthogonal");

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  test(`${backend.name}: columnDots of any shape`, async () => {
    for (const rows of [...SIZES, 1009]) {
      for (const cols of SIZES) {
        const [a, b] = [randomValues(rows * cols), randomValues(rows * cols)];
        const expected = new Float64Array(cols);
        const sizes = new Float64Array(cols);
        a.forEach((value, i) => {
          expected[i % cols] += value * b[i];
          sizes[i % cols] += Math.abs(value * b[i]);
        });
        const out = blank(backend, cols, 1);
        backend.ops.columnDots(input(backend, a, cols), input(backend, b, cols), out.view);
        const bound = (j: number) => 2 * EPSILON * sizes[j];
        assertWithin(await out.read(), expected, bound, `${backend.name} [${rows}, ${cols}]`);
      }
    }
  });

  test(`${backend.name}: addScaledColumns of any shape`, async () => {
    for (const rows of SIZES) {
      for (const cols of SIZES) {
        const [x, y, scale] = [rows * cols, rows * cols, cols].map(randomValues);
        const expected = x.map((value, i) => value - 2.5 * y[i] * scale[i % cols]);
        const out = output(backend, x, cols);
        const operands = [input(backend, y, cols), input(backend, scale, 1)] as const;
        backend.ops.addScaledColumns(out.view, ...operands, -2.5);
        const bound = () => 8 * EPSILON;
        assertWithin(await out.read(), expected, bound, `${backend.name} [${rows}, ${cols}]`);
      }
    }
  });

  test(`${backend.name}: antisymmetrise of any size, exactly`, async () => {
    for (const n of [...SIZES, 64, 65, 97]) {
      const a = randomValues(n * n);
      const out = output(backend, a, n);
      backend.ops.antisymmetrise(out.view);
      const result = await out.read();
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          const expected = Math.fround(a[i * n + j] - a[j * n + i]);
          assert.ok(result[i * n + j] === expected, `${backend.name} ${n}: [${i}, ${j}]`);
        }
      }
    }
  });

  test(`${backend.name}: adam follows its definition over some steps`, async () => {
    for (const size of [...SIZES, 1009]) {
      const [x, m, v] = [randomValues(size), new Float32Array(size), new Float32Array(size)];
      const exact = {
        x: Float64Array.from(x),
        m: new Float64Array(size),
        v: new Float64Array(size),
      };
      const tensors = [x, m, v].map((data) => output(backend, data, 1));
      const settings = { learningRate: 0.03, beta1: 0.8, beta2: 0.99, epsilon: 1e-6, scale: 0.7 };
      for (let step = 1; step <= 4; step++) {
        const gradient = randomValues(size).map((g) => g * 10 ** (step - 3));
        const operands = [input(backend, gradient, 1), tensors[1].view, tensors[2].view] as const;
        backend.ops.adam(tensors[0].view, ...operands, { ...settings, step });
        gradient.forEach((value, i) => {
          const g = 0.7 * value;
          exact.m[i] = 0.8 * exact.m[i] + 0.2 * g;
          exact.v[i] = 0.99 * exact.v[i] + 0.01 * g * g;
          const spread = Math.sqrt(exact.v[i] / (1 - 0.99 ** step)) + 1e-6;
          exact.x[i] -= (0.03 * exact.m[i]) / (1 - 0.8 ** step) / spread;
        });
      }
      const what = `${backend.name}: ${size}`;
      const near = (reference: Float64Array) => (i: number) => 1e-5 * Math.abs(reference[i]) + 1e-9;
      assertWithin(await tensors[0].read(), exact.x, () => 2e-6, what);
      assertWithin(await tensors[1].read(), exact.m, (i) => near(exact.m)(i) + 1e-6, what);
      assertWithin(await tensors[2].read(), exact.v, near(exact.v), what);
    }
  });

  test(`${backend.name}: adam leaves alone what has no gradient`, async () => {
    const x = randomValues(9);
    const tensors = [x, new Float32Array(9), new Float32Array(9)].map((data) =>
      output(backend, data, 1),
    );
    const gradient = input(backend, new Float32Array(9), 1);
    const views = tensors.map(({ view }) => view);
    backend.ops.adam(views[0], gradient, views[1], views[2], { learningRate: 0.1, step: 1 });
    assert.equal(await tensors[0].read(), x);
  });
}

test.run();
