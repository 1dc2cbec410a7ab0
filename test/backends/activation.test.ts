import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ActivationName } from "../../src/backends/operations/activation.js";
import {
  assertGated,
  assertWithin,
  blank,
  input,
  OPENERS,
  output,
  randomValues,
  SIZES,
} from "./operands.js";

const test = suite("activation");

/** x, erfc(x / sqrt(2)) / 2 as Python's math.erfc gives it. */
const NORMAL_TAILS: readonly (readonly [x: number, tail: number])[] = [
  [0, 0.5],
  [0.0625, 0.4750823309707528],
  [0.5, 0.3085375387259869],
  [1, 0.15865525393145707],
  [1.5, 0.06680720126885809],
  [2, 0.02275013194817922],
  [2.75, 0.0029797632350545573],
  [3, 0.0013498980316300957],
  [3.25, 0.0005770250423907673],
  [4, 3.1671241833119965e-5],
  [5.5, 1.8989562465887738e-8],
  [7, 1.279812543885835e-12],
  [9, 1.1285884059538422e-19],
  [12, 1.776482112077702e-33],
];

/** The functions in float64, for any x. */
const EXPECTED: Readonly<Record<ActivationName, (x: number) => number>> = {
  gelu: (x) => x * normalShare(x),
  "gelu-tanh": (x) => x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu: (x) => (x > 0 ? x : 0),
};

/** The share of a normal variable's values below x, by Simpson's rule over the density. */
function normalShare(x: number): number {
  const steps = 2000;
  const [far, near] = [-14, Math.max(-14, Math.min(x, 14))];
  const step = (near - far) / steps;
  let sum = 0;
  for (let i = 0; i <= steps; i++) {
    const weight = i === 0 || i === steps ? 1 : 2 + 2 * (i % 2);
    const at = far + i * step;
    sum += weight * Math.exp((-at * at) / 2);
  }
  return (sum * step) / 3 / Math.sqrt(2 * Math.PI);
}

test("the expected share is that of Python's math.erfc", () => {
  for (const [x, tail] of NORMAL_TAILS) {
    assert.ok(Math.abs(normalShare(-x) / tail - 1) < 1e-6, `${x}: ${normalShare(-x)}, not ${tail}`);
  }
});

/** What the contract states. */
function bound(x: number, value: number): number {
  return (6e-7 + 2e-7 * x * x) * Math.abs(value) + 1e-37;
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  for (const name of Object.keys(EXPECTED) as ActivationName[]) {
    test(`${backend.name}: ${name} of any count, also in place`, async () => {
      for (const count of [...SIZES, 1009]) {
        const x = randomValues(count).map((value, i) => value * (i % 2 === 0 ? 3 : 13));
        const expected = Float64Array.from(x, EXPECTED[name]);
        const within = (i: number) => bound(x[i], expected[i]);
        const what = `${backend.name}: ${name} of ${count}`;
        const out = blank(backend, count, 1);
        backend.ops.activate(input(backend, x, 1), out.view, name);
        assertWithin(await out.read(), expected, within, what);
        const same = output(backend, x, 1);
        backend.ops.activate(same.view, same.view, name);
        assertWithin(await same.read(), expected, within, `${what}, in place`);
      }
    });

    test(`${backend.name}: ${name} at the ends of the range`, async () => {
      const x = Float32Array.from([-3e38, -100, -0, 0, 100, 3e38, Infinity, Number.NaN]);
      const out = blank(backend, x.length, 1);
      backend.ops.activate(input(backend, x, 1), out.view, name);
      const result = await out.read();
      assert.ok(Number.isNaN(result[7]));
      const expected = [0, 0, 0, 0, 100, Math.fround(3e38), Infinity];
      assertWithin(result.subarray(0, 7), expected, () => 1e-35, `${backend.name} ${name}`);
    });
  }

  test(`${backend.name}: gelu at the values of Python's math.erfc`, async () => {
    const x = Float32Array.from(NORMAL_TAILS, ([at]) => -at);
    const expected = NORMAL_TAILS.map(([at, tail]) => -at * tail);
    const out = blank(backend, x.length, 1);
    backend.ops.activate(input(backend, x, 1), out.view, "gelu");
    assertWithin(await out.read(), expected, (i) => bound(x[i], expected[i]), backend.name);
  });

  test(`${backend.name}: geglu of any count, also in place`, async () => {
    for (const count of [...SIZES, 1009]) {
      const [gate, up] = [randomValues(count).map((value) => value * 6), randomValues(count)];
      const expected = Float64Array.from(gate, (g, i) => EXPECTED["gelu-tanh"](g) * up[i]);
      const within = (i: number) => bound(gate[i], expected[i]);
      await assertGated(backend, "geglu", { gate, up, expected }, within);
    }
  });
}

test.run();
