import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  assertGated,
  assertWithin,
  blank,
  EPSILON,
  input,
  OPENERS,
  output,
  randomValues,
  SIZES,
} from "./operands.js";

const test = suite("elementwise");

const COUNTS = [...SIZES, 1009];

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  test(`${backend.name}: swiglu of any count, also in place`, async () => {
    for (const count of COUNTS) {
      const gate = randomValues(count).map((value) => value * 120);
      const up = randomValues(count);
      const expected = Float64Array.from(gate, (g, i) => (g / (1 + Math.exp(-g))) * up[i]);
      // Far below zero 1 + exp(-g) leaves float32: g / infinity is 0.
      const bound = (i: number) => 8 * EPSILON * Math.abs(expected[i]) + 1e-35;
      await assertGated(backend, "swiglu", { gate, up, expected }, bound);
    }
  });

  test(`${backend.name}: swiglu at the ends of the range`, async () => {
    const gate = Float32Array.from([
      -Infinity,
      -3e38,
      -100,
      0,
      -0,
      100,
      3e38,
      Infinity,
      Number.NaN,
    ]);
    const up = new Float32Array(9).fill(1);
    const out = blank(backend, 9, 1);
    backend.ops.swiglu(input(backend, gate, 1), input(backend, up, 1), out.view);
    const result = await out.read();
    assert.ok(Number.isNaN(result[8]));
    assertWithin(result.subarray(1, 7), [0, 0, 0, 0, 100, Math.fround(3e38)], () => 1e-35, "range");
  });

  test(`${backend.name}: adds any count`, async () => {
    for (const count of COUNTS) {
      const [x, y] = [randomValues(count), randomValues(count)];
      const sum = output(backend, x, 1);
      backend.ops.add(sum.view, input(backend, y, 1));
      assert.equal(
        await sum.read(),
        x.map((value, i) => value + y[i]),
      );
    }
  });

  test(`${backend.name}: embeds rows by id, and refuses an id outside the table`, async () => {
    for (const width of [1, 3, 8, 33]) {
      const table = randomValues(7 * width);
      const ids = Int32Array.from([6, 0, 3, 3]);
      const out = blank(backend, 4 * width, width);
      backend.ops.embed(input(backend, table, width), input(backend, ids, 1), out.view);
      const expected = Array.from(ids).flatMap((id) => [
        ...table.subarray(id * width, (id + 1) * width),
      ]);
      assert.equal([...(await out.read())], expected);
      for (const bad of [-1, 7]) {
        const tokens = backend.upload(Int32Array.from([0, bad]), [2]);
        assert.throws(
          () => backend.ops.embed(backend.zeros([7, width]), tokens, backend.zeros([2, width])),
          new RegExp(`token 1 has the id ${bad}`),
        );
      }
    }
  });
}

test.run();
