import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import type { AttentionOptions } from "../../src/backends/operations/attention.js";
import { expectedAttention } from "./expected-attention.js";
import {
  assertWithin,
  blank,
  EPSILON,
  input,
  OPENERS,
  outputBytes,
  randomValues,
} from "./operands.js";

const test = suite("rounded attention");

interface Rounded {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
}

/** Heads as int8, as they are usually written down. */
function expectedHeads(x: Float32Array, headDim: number): Rounded {
  const codes = new Int8Array(x.length);
  const scales = new Float32Array(x.length / headDim);
  for (const head of scales.keys()) {
    const own = x.subarray(head * headDim, (head + 1) * headDim);
    scales[head] = Math.max(...own.map(Math.abs)) / 127;
    if (!(scales[head] > 0 && Number.isFinite(scales[head]))) continue;
    for (const [i, value] of own.entries()) {
      const exact = Math.fround(value / scales[head]);
      const [low, high] = [Math.floor(exact), Math.ceil(exact)];
      const even = low % 2 === 0 ? low : high;
      const whole = exact - low === 0.5 ? even : exact - low < 0.5 ? low : high;
      codes[head * headDim + i] = Math.max(-128, Math.min(127, whole));
    }
  }
  return { codes: new Uint8Array(codes.buffer), scales };
}

/** The numbers that codes stand for. */
function widened({ codes, scales }: Rounded): Float64Array {
  const run = codes.length / scales.length;
  const signed = new Int8Array(codes.buffer, codes.byteOffset, codes.length);
  return Float64Array.from(signed, (code, i) => code * scales[Math.floor(i / run)]);
}

interface Case {
  readonly q: Float32Array;
  readonly k: Rounded;
  readonly v: Rounded;
}

/** @param runs of each head of keys, with a scale of their own */
function randomCase(
  [queries, keys]: readonly [number, number],
  options: AttentionOptions,
  { scale = 2, runs = 1 } = {},
): Case {
  const { heads, kvHeads, headDim } = options;
  const values = (size: number, by: number) => randomValues(size).map((value) => value * by);
  const kvSize = keys * kvHeads * headDim;
  return {
    q: values(queries * heads * headDim, scale),
    k: expectedHeads(values(kvSize, scale), headDim / runs),
    v: expectedHeads(randomValues(kvSize), headDim),
  };
}

async function attend(backend: Backend, { q, k, v }: Case, options: AttentionOptions) {
  const { heads, kvHeads, headDim } = options;
  const width = heads * headDim;
  const out = blank(backend, q.length, width);
  const held = [k, v].map(({ codes, scales }) => ({
    codes: input(backend, codes, kvHeads * headDim),
    scales: input(backend, scales, (scales.length * kvHeads * headDim) / codes.length || kvHeads),
  }));
  const [keys, values] = held;
  const queries = input(backend, q, width);
  const operands = [queries, keys.codes, keys.scales, values.codes, values.scales] as const;
  await backend.ops.roundedAttention(...operands, out.view, options);
  return out.read();
}

for (const open of OPENERS) {
  const backend = await open();

  async function round(x: Float32Array, headDim: number, heads: number) {
    const codes = outputBytes(backend, x.length, headDim * heads);
    const scales = blank(backend, x.length / headDim, heads);
    const from = input(backend, x, headDim * heads);
    await backend.ops.roundHeads(from, codes.view, scales.view);
    return { codes: await codes.read(), scales: await scales.read() };
  }

  test(`${backend.name}: rounds heads of any size, to the bit`, async () => {
    for (const headDim of [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 31, 33, 64, 80, 128]) {
      for (const [rows, heads] of [
        [0, 2],
        [1, 1],
        [5, 3],
      ]) {
        const x = randomValues(rows * heads * headDim).map((value) => value * 37);
        const what = `${backend.name}: ${rows} x ${heads} heads of ${headDim}`;
        assert.equal(await round(x, headDim, heads), expectedHeads(x, headDim), what);
      }
    }
  });

  test(`${backend.name}: rounds what lies between two codes to the even one`, async () => {
    // The scale is 1.
    const x = Float32Array.of(127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, -127);
    const { codes, scales } = await round(x, 9, 1);
    assert.equal([...scales], [1]);
    assert.equal([...new Int8Array(codes.buffer)], [127, 0, 2, 2, 0, -2, -2, 0, -127]);
  });

  test(`${backend.name}: zeros, the smallest and the largest numbers`, async () => {
    const smallest = 2 ** -149;
    for (const headDim of [4, 6]) {
      const heads = [0, smallest, 100 * smallest, 190 * smallest, 2 ** -126, 3.4e38];
      const x = Float32Array.from(heads.flatMap((value) => Array(headDim).fill(value)));
      for (let i = 1; i < x.length; i += 2) x[i] *= -1;
      const found = await round(x, headDim, heads.length);
      // A GPU may take the smallest numbers for 0; here it is the host that rounds.
      assert.equal(found, expectedHeads(x, headDim));
      assert.equal([...found.codes.slice(0, 2 * headDim)], Array(2 * headDim).fill(0));
    }
  });

  test(`${backend.name}: a head that holds NaN or infinity has no finite scale, and codes of 0`, async () => {
    for (const headDim of [3, 4, 5, 8]) {
      for (const stray of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        for (let at = 0; at < headDim; at++) {
          const x = randomValues(3 * headDim);
          x[headDim + at] = stray;
          const { codes, scales } = await round(x, headDim, 3);
          assert.equal([...scales].map(Number.isFinite), [true, false, true]);
          assert.ok(codes.subarray(headDim, 2 * headDim).every((code) => code === 0));
          const others = expectedHeads(x.slice(2 * headDim), headDim);
          assert.equal(codes.slice(2 * headDim), others.codes);
        }
      }
    }
  });

  async function check(queries: number, keys: number, options: AttentionOptions, runs = 1) {
    const scale = 2;
    const { headDim, heads, kvHeads, window } = options;
    const { q, k, v } = randomCase([queries, keys], options, { scale, runs });
    // As for floats, and the rounding of queries to at least 15 bits: it moves scores by half a step a column.
    const score = scale * scale * Math.sqrt(headDim);
    const most = Math.min(32767, Math.floor((2 ** 31 - 1) / (128 * headDim)));
    const bound =
      EPSILON * (4 + score * (2 + Math.sqrt(headDim)) + 2 * Math.sqrt(keys)) + score / most / 2;
    const wide = [widened(k), widened(v)] as const;
    const expected = expectedAttention([queries, keys], q, ...wide, options);
    const what = `${backend.name}: ${queries} of ${keys}, ${heads}/${kvHeads} heads of ${headDim}, ${runs} runs, window ${window}`;
    const found = await attend(backend, { q, k, v }, options);
    assertWithin(found, expected, () => bound, what);
  }

  test(`${backend.name}: attends over any number of keys`, async () => {
    for (const keys of [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33]) {
      for (const queries of new Set([0, 1, Math.ceil(keys / 2), keys])) {
        await check(queries, keys, { heads: 4, kvHeads: 2, headDim: 8 });
      }
    }
  });

  test(`${backend.name}: attends with any head size and sharing`, async () => {
    for (const headDim of [1, 3, 4, 5, 6, 16, 31, 32, 33, 64, 80, 96, 128, 256, 640]) {
      for (const [heads, kvHeads] of [
        [1, 1],
        [3, 3],
        [6, 2],
        [4, 1],
      ]) {
        for (const queries of [3, 9]) await check(queries, 10, { heads, kvHeads, headDim });
      }
    }
  });

  test(`${backend.name}: keys may have a scale for each run of a head's columns`, async () => {
    for (const [headDim, runs] of [
      [64, 2],
      [96, 3],
      [128, 4],
      [20, 5],
      [6, 2],
      [18, 2],
    ]) {
      for (const queries of [1, 3, 9]) {
        for (const window of [undefined, 7]) {
          await check(queries, 21, { heads: 4, kvHeads: 2, headDim, window }, runs);
        }
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
      for (const headDim of [6, 12]) {
        await check(13, 13, { heads: 2, kvHeads: 1, headDim, window });
        await check(4, 21, { heads: 2, kvHeads: 1, headDim, window });
      }
    }
  });

  test(`${backend.name}: attends over a long context`, async () => {
    await check(1, 1031, { heads: 4, kvHeads: 2, headDim: 64 });
    await check(65, 130, { heads: 4, kvHeads: 2, headDim: 64 });
    for (const window of [undefined, 1, 13, 40]) {
      await check(70, 70, { heads: 4, kvHeads: 2, headDim: 20, window });
      await check(9, 101, { heads: 2, kvHeads: 2, headDim: 8, window });
    }
  });

  test(`${backend.name}: the largest codes of the widest heads do not overflow`, async () => {
    for (const headDim of [512, 513, 2048]) {
      const ones = new Float32Array(headDim).fill(1);
      const k = expectedHeads(
        ones.map(() => -3),
        headDim,
      );
      const v = expectedHeads(ones, headDim);
      const options = { heads: 1, kvHeads: 1, headDim, scale: 1 / headDim };
      const twice = ({ codes, scales }: Rounded, second: number) => ({
        codes: Uint8Array.of(...codes, ...codes),
        scales: Float32Array.of(scales[0], scales[0] * second),
      });
      // Scores are -3 and -1.5, exactly but for the rounding of floats.
      const found = await attend(backend, { q: ones, k: twice(k, 0.5), v: twice(v, 2) }, options);
      const second = 1 / (1 + Math.exp(-1.5));
      assertWithin(
        found,
        ones.map(() => 1 + second),
        () => 1e-5,
        `heads of ${headDim}`,
      );
    }
  });

  test(`${backend.name}: what sees a key or value that is no number is NaN, other heads are not`, async () => {
    const options = { heads: 4, kvHeads: 2, headDim: 8, window: 4 };
    for (const role of ["k", "v"] as const) {
      for (const stray of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const given = randomCase([12, 12], options);
        given[role].scales[2 * 5 + 1] = stray;
        given[role].codes.fill(0, (2 * 5 + 1) * 8, (2 * 5 + 2) * 8);
        for (const count of [12, 1]) {
          for (let first = 0; first < 12; first += count) {
            const keys = first + count;
            const some = {
              q: given.q.slice(first * 32, keys * 32),
              k: {
                codes: given.k.codes.slice(0, keys * 16),
                scales: given.k.scales.slice(0, keys * 2),
              },
              v: {
                codes: given.v.codes.slice(0, keys * 16),
                scales: given.v.scales.slice(0, keys * 2),
              },
            };
            const found = await attend(backend, some, options);
            for (const [i, value] of found.entries()) {
              const position = first + Math.floor(i / 32);
              const [isSeen, isOwn] = [position >= 5 && position < 9, i % 32 >= 16];
              // Beside many queries, those that do not see it may multiply it by a weight of 0.
              if (isOwn && !isSeen && count > 1) continue;
              const what = `${role} ${stray}, ${count} at once: ${i}`;
              assert.is(Number.isNaN(value), isSeen && isOwn, what);
            }
          }
        }
      }
    }
  });

  test(`${backend.name}: a query's bits do not depend on those beside it`, async () => {
    for (const [headDim, keys, parts] of [
      [16, 21, [1, 2, 4]],
      [6, 40, [9, 13]],
      [16, 64, [16, 32]],
    ] as const) {
      const options = { heads: 4, kvHeads: 2, headDim };
      const queries = parts.reduce((sum, one) => sum + one, 0);
      const { q, k, v } = randomCase([queries, keys], options);
      const whole = await attend(backend, { q, k, v }, options);
      let first = 0;
      for (const count of parts) {
        const end = keys - queries + first + count;
        const row = 4 * headDim;
        const seen = ({ codes, scales }: Rounded) => ({
          codes: codes.slice(0, end * 2 * headDim),
          scales: scales.slice(0, end * 2),
        });
        const own = q.slice(first * row, (first + count) * row);
        const found = await attend(backend, { q: own, k: seen(k), v: seen(v) }, options);
        assert.equal(found, whole.slice(first * row, (first + count) * row));
        first += count;
      }
    }
  });

  test(`${backend.name}: operands of another shape or type are refused`, () => {
    const [x, codes, scales] = [
      backend.zeros([2, 6]),
      backend.zeros([2, 6], "u8"),
      backend.zeros([2, 2]),
    ];
    const { roundHeads, roundedAttention } = backend.ops;
    assert.throws(() => roundHeads(x, x, scales), /codes is f32, must be u8/);
    assert.throws(() => roundHeads(x, codes, backend.zeros([1, 2])), /scales is \[1,2\]/);
    const four = backend.zeros([2, 4]);
    assert.throws(() => roundHeads(x, codes, four), /4 scales of a row do not divide 6 columns/);
    const options = { heads: 2, kvHeads: 2, headDim: 3 };
    const out = backend.zeros([2, 6]);
    const run =
      (k = codes, factors = scales, more: Partial<AttentionOptions> = {}) =>
      () =>
        roundedAttention(x, k, factors, codes, scales, out, { ...options, ...more });
    assert.throws(run(x), /k is f32, must be u8/);
    assert.throws(
      run(codes, backend.zeros([2, 1])),
      /1 scales of a row of k are not those of 2 heads of 3/,
    );
    assert.throws(run(codes, scales, { window: 0 }), /window 0 must be positive/);
    assert.throws(run(codes, scales, { heads: 3 }), /2 key-value heads do not divide 3 heads/);
    assert.throws(run(backend.zeros([1, 6], "u8"), backend.zeros([1, 2])), /v is|fewer than/);
  });
}

test.run();
