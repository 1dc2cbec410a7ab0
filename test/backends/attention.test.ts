import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AttentionOptions } from "../../src/backends/operations/attention.js";
import { expectedAttention } from "./expected-attention.js";
import { assertWithin, blank, EPSILON, input, OPENERS, randomValues } from "./operands.js";

const test = suite("attention");

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  async function check(queries: number, keys: number, options: AttentionOptions, scale = 2) {
    const { heads, kvHeads, headDim, window } = options;
    const [width, kvWidth] = [heads * headDim, kvHeads * headDim];
    const q = randomValues(queries * width).map((value) => value * scale);
    const k = randomValues(keys * kvWidth).map((value) => value * scale);
    const v = randomValues(keys * kvWidth);
    const out = blank(backend, q.length, width);
    const operands = [input(backend, q, width), input(backend, k, kvWidth)] as const;
    backend.ops.attention(...operands, input(backend, v, kvWidth), out.view, options);
    // Scores, at most scale² √headDim, are wrong by their rounding; so are the weights, relatively.
    const score = scale * scale * Math.sqrt(headDim);
    const bound = EPSILON * (4 + score * (2 + Math.sqrt(headDim)) + 2 * Math.sqrt(keys));
    const what = `${backend.name}: ${queries} of ${keys}, ${heads}/${kvHeads} heads of ${headDim}, window ${window}`;
    const expected = expectedAttention([queries, keys], q, k, v, options);
    assertWithin(await out.read(), expected, () => bound, what);
  }

  test(`${backend.name}: attends over any number of keys`, async () => {
    for (const keys of [1, 2, 3, 4, 5, 7, 8, 9, 31, 33]) {
      for (const queries of new Set([0, 1, Math.ceil(keys / 2), keys])) {
        await check(queries, keys, { heads: 4, kvHeads: 2, headDim: 8 });
      }
    }
  });

  test(`${backend.name}: attends with any head size and sharing`, async () => {
    for (const headDim of [1, 3, 4, 5, 16, 31, 32, 33, 64, 80, 128]) {
      for (const [heads, kvHeads] of [
        [1, 1],
        [3, 3],
        [6, 2],
        [4, 1],
      ]) {
        await check(3, 10, { heads, kvHeads, headDim });
      }
    }
  });

  test(`${backend.name}: scores are scaled by the number that is given`, async () => {
    for (const queries of [1, 9]) {
      await check(queries, 9, { heads: 2, kvHeads: 1, headDim: 12, scale: 0.1 });
    }
  });

  test(`${backend.name}: sees no more than the window`, async () => {
    for (const window of [1, 2, 5, 8, 100]) {
      await check(13, 13, { heads: 2, kvHeads: 1, headDim: 12, window });
      await check(4, 21, { heads: 2, kvHeads: 1, headDim: 12, window });
    }
  });

  test(`${backend.name}: attends over a long context`, async () => {
    await check(1, 1031, { heads: 4, kvHeads: 2, headDim: 64 });
    await check(65, 130, { heads: 4, kvHeads: 2, headDim: 64 });
    for (const headDim of [4, 8, 12, 20]) {
      for (const window of [undefined, 1, 13, 40]) {
        await check(70, 70, { heads: 4, kvHeads: 2, headDim, window });
        await check(9, 101, { heads: 2, kvHeads: 2, headDim, window });
      }
    }
  });

  test(`${backend.name}: large scores neither overflow nor vanish`, async () => {
    const [q, k] = [new Float32Array(4).fill(1e10), new Float32Array(8).fill(1e10)];
    k.fill(-1e10, 4);
    const v = Float32Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
    const out = blank(backend, 4, 4);
    const options = { heads: 1, kvHeads: 1, headDim: 4 };
    const operands = [input(backend, q, 4), input(backend, k, 4)] as const;
    backend.ops.attention(...operands, input(backend, v, 4), out.view, options);
    assert.equal([...(await out.read())], [1, 2, 3, 4]);
  });
}

test.run();
