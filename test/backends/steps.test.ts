import { suite } from "uvu";
import * as assert from "uvu/assert";
import { stripsOf } from "../../src/backends/wasm/cholesky.js";
import { IN_COLUMNS, IN_ROWS } from "../../src/backends/wasm/product.js";
import { SHAPES } from "../../src/backends/wasm/tune.js";
import { type Instance, MODES, openInstance } from "./instance.js";
import { random, randomValues } from "./operands.js";

const test = suite("steps of kernels, shared out");

const ORDERS = [1, 5, 24, 97, 192, 193, 300, 457, 601];

type Cut = (first: number, last: number, grain: number) => [number, number][];

const uncut: Cut = (first, last) => [[first, last]];

/** Cuts [first, last) at random multiples of a grain, in a random order. */
const cutAnyhow: Cut = (first, last, grain) => {
  const ends = [first];
  for (let at = (Math.floor(first / grain) + 1) * grain; at < last; at += grain) {
    if (random() < 0.5) ends.push(at);
  }
  const ranges = ends.map((at, i): [number, number] => [at, ends[i + 1] ?? last]);
  return ranges.sort(() => random() - 0.5);
};

/** Requires every shape and cut to give what the first shape gives of uncut work. */
function agree(kernels: Instance, what: string, run: (cuts: Cut) => Float32Array) {
  kernels.exports.gemmUseShape(0);
  const expected = run(uncut);
  for (const shape of SHAPES.keys()) {
    kernels.exports.gemmUseShape(shape);
    for (const cuts of [uncut, cutAnyhow]) {
      assert.equal(run(cuts), expected, `${what}, shape ${shape}, whole: ${cuts === uncut}`);
      kernels.reset();
    }
  }
}

for (const mode of MODES) {
  test(`${mode}: a Hessian by columns`, async () => {
    const kernels = await openInstance(mode);
    const { exports } = kernels;
    for (const [tokens, n] of [...ORDERS.map((n) => [1 + (n % 50), n]), [401, 397], [3, 2100]]) {
      const [x, before] = [randomValues(tokens * n), randomValues(n * n)];
      agree(kernels, `${mode} ${tokens}x${n}`, (cuts) => {
        const [xAt, out] = [kernels.put(x), kernels.put(before)];
        const panels = kernels.scratch(exports.gemmPackedBytes(n, tokens));
        const scratch = kernels.scratch(exports.hessianScratch(n, tokens));
        for (const range of cuts(0, n, 120)) {
          exports.gemmPack(0, n, tokens, xAt, n, IN_COLUMNS, 0.75, panels, ...range);
        }
        for (const range of cuts(0, n, 24)) {
          exports.hessianColumns(tokens, n, xAt, panels, out, ...range, scratch);
        }
        // What stands below the diagonal is undefined.
        return kernels.read(out, n * n).map((v, at) => (at % n < Math.floor(at / n) ? 0 : v));
      });
    }
  });

  test(`${mode}: a Cholesky factor by blocks, rows and columns`, async () => {
    const kernels = await openInstance(mode);
    const { exports } = kernels;
    const block = Number(exports.CHOLESKY_BLOCK);
    const factor = (cuts: Cut, n: number, a: number, inverse: number): void => {
      const scratch = kernels.scratch(
        Math.max(exports.choleskyPanelScratch(n), exports.choleskyUpdateScratch(n, n)),
      );
      const panels = kernels.scratch(exports.gemmPackedBytes(n, n));
      for (const { from, to, last: lastCol, isBlock } of stripsOf(0, n, block)) {
        assert.ok(exports.gemmBlockDepth(to - from) >= to - from, "one block of k");
        if (isBlock) {
          assert.is(exports.choleskyPivot(n, a, from, inverse), -1);
          for (const rows of cuts(to, n, 24)) {
            exports.choleskyPanel(n, a, from, inverse, ...rows, scratch);
          }
        }
        for (const [col, last] of cuts(to, lastCol, 24)) {
          const [lines, k] = [last - col, to - from];
          const p = a + 4 * (col * n + from);
          for (const range of cuts(0, lines, 120)) {
            exports.gemmPack(1, lines, k, p, n, IN_ROWS, 1, panels, ...range);
          }
          for (const rows of cuts(to, n, 24)) {
            exports.choleskyUpdate(n, a, from, to, col, last, ...rows, panels, scratch);
          }
        }
      }
      exports.choleskyClear(n, a);
    };
    for (const n of ORDERS) {
      const given = randomValues(n * n).map((v, at) => (at % (n + 1) === 0 ? n + v : v));
      agree(kernels, `${mode} ${n}`, (cuts) => {
        const a = kernels.put(given);
        factor(cuts, n, a, kernels.scratch(Number(exports.CHOLESKY_BLOCK_BYTES)));
        return kernels.read(a, n * n);
      });
    }
  });

  test(`${mode}: a triangular inverse by columns`, async () => {
    const kernels = await openInstance(mode);
    const { exports } = kernels;
    const block = Number(exports.CHOLESKY_BLOCK);
    for (const n of ORDERS) {
      const given = randomValues(n * n).map((v, at) => {
        const [i, j] = [Math.floor(at / n), at % n];
        return j > i ? 0 : j === i ? 1 + Math.abs(v) : v / Math.sqrt(n);
      });
      agree(kernels, `${mode} ${n}`, (cuts) => {
        const [l, out] = [kernels.put(given), kernels.scratch(4 * n * n)];
        const scratch = kernels.scratch(exports.choleskyInverseScratch(n));
        for (const range of cuts(0, n, block)) {
          exports.choleskyInverseDiagonals(n, l, out, ...range, scratch);
        }
        for (const [first, last] of cuts(0, n, block)) {
          const to = out + 4 * (first * n + first);
          exports.choleskyInverseColumns(n, l, out, to, n, first, last, scratch);
        }
        return kernels.read(out, n * n);
      });
    }
  });

  /** Of a panel of a quadratic form; no order is a multiple of it. */
  const COLUMNS = 7;

  test(`${mode}: a quadratic form, row by row, column by column and whole`, async () => {
    const kernels = await openInstance(mode);
    const { exports } = kernels;
    for (const [rows, n] of [...ORDERS.slice(0, 6).map((n) => [1 + (n % 50), n]), [3, 601]]) {
      const [d, square] = [randomValues(rows * n), randomValues(n * n)];
      const h = square.map((v, at) => (v + square[(at % n) * n + Math.floor(at / n)]) / 2);
      let expected = 0;
      for (let r = 0; r < rows; r++) {
        for (let i = 0; i < n; i++) {
          for (let j = 0; j < n; j++) expected += d[r * n + i] * h[i * n + j] * d[r * n + j];
        }
      }
      agree(kernels, `${mode} ${rows}x${n}`, () => {
        const [dAt, hAt] = [kernels.put(d), kernels.put(h)];
        const packed = kernels.scratch(exports.gemmPackedBytes(n, n));
        const scratch = kernels.scratch(exports.hessianQuadraticScratch(rows, n, n));
        exports.gemmPack(1, n, n, hAt, n, IN_ROWS, 1, packed, 0, n);
        const terms = Array.from({ length: rows }, (_, r) =>
          exports.hessianQuadraticForm(1, n, dAt + 4 * r * n, 0, n, packed, scratch),
        );
        const all = exports.hessianQuadraticForm(rows, n, dAt, 0, n, packed, scratch);
        let panels = 0;
        for (let first = 0; first < n; first += COLUMNS) {
          const count = Math.min(COLUMNS, n - first);
          exports.gemmPack(1, count, n, hAt + 4 * first * n, n, IN_ROWS, 1, packed, 0, count);
          panels += exports.hessianQuadraticForm(rows, n, dAt, first, count, packed, scratch);
        }
        const sum = terms.reduce((total, term) => total + term, 0);
        const bound = 1e-5 * n * rows;
        assert.ok(Math.abs(all - expected) < bound, `${all} for ${expected}`);
        assert.ok(Math.abs(sum - expected) < bound, `${sum} for ${expected}`);
        assert.ok(Math.abs(panels - expected) < bound, `${panels} for ${expected}`);
        return Float32Array.from([...terms, all, panels]);
      });
    }
  });
}

test.run();
