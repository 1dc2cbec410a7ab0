import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SHAPES } from "../../src/backends/wasm/tune.js";
import { type Instance, MODES, openInstance } from "./instance.js";
import { random, randomValues } from "./operands.js";

const test = suite("steps of kernels, shared out");

const ORDERS = [1, 5, 24, 97, 192, 193, 300, 457, 601];

/** Cuts [first, last) at random multiples of a grain, in a random order. */
function cuts(first: number, last: number, grain: number): [number, number][] {
  const ends = [first];
  for (let at = (Math.floor(first / grain) + 1) * grain; at < last; at += grain) {
    if (random() < 0.5) ends.push(at);
  }
  const ranges = ends.map((at, i): [number, number] => [at, ends[i + 1] ?? last]);
  return ranges.sort(() => random() - 0.5);
}

/** Requires `parts`, with every shape, to give what `whole` gives with the first. */
function agree(kernels: Instance, what: string, run: (isWhole: boolean) => Float32Array) {
  kernels.exports.gemmUseShape(0);
  const expected = run(true);
  for (const shape of SHAPES.keys()) {
    kernels.exports.gemmUseShape(shape);
    for (const isWhole of [true, false]) {
      assert.equal(run(isWhole), expected, `${what}, shape ${shape}, whole: ${isWhole}`);
      kernels.reset();
    }
  }
}

for (const mode of MODES) {
  test(`${mode}: a Hessian by columns`, async () => {
    const kernels = await openInstance(mode);
    const { exports } = kernels;
    for (const [tokens, n] of [...ORDERS.map((n) => [n % 50, n]), [401, 397], [3, 2100]]) {
      const [x, before] = [randomValues(tokens * n), randomValues(n * n)];
      agree(kernels, `${mode} ${tokens}x${n}`, (isWhole) => {
        const [xAt, out] = [kernels.put(x), kernels.put(before)];
        const call = [tokens, n, xAt, out, 0.75];
        const scratch = kernels.scratch(exports.hessianScratch(n, tokens));
        if (isWhole) exports.hessianAccumulate(...call, scratch);
        else for (const range of cuts(0, n, 24)) exports.hessianColumns(...call, ...range, scratch);
        // What stands below the diagonal is undefined.
        return kernels.read(out, n * n).map((v, at) => (at % n < Math.floor(at / n) ? 0 : v));
      });
    }
  });

  test(`${mode}: a Cholesky factor by blocks, rows and columns`, async () => {
    const kernels = await openInstance(mode);
    const { exports } = kernels;
    const [strip, block] = [exports.CHOLESKY_STRIP, exports.CHOLESKY_BLOCK].map(Number);
    const inParts = (n: number, a: number, inverse: number, scratch: number): void => {
      const update = (from: number, to: number, lastCol: number) => {
        for (const cols of cuts(to, lastCol, 24)) {
          for (const rows of cuts(to, n, 24)) {
            exports.choleskyUpdate(n, a, from, to, ...cols, ...rows, scratch);
          }
        }
      };
      for (let k = 0; k < n; k += strip) {
        const end = Math.min(n, k + strip);
        for (let p = k; p < end; p += block) {
          assert.is(exports.choleskyPivot(n, a, p, inverse), -1);
          const next = Math.min(n, p + block);
          for (const rows of cuts(next, n, 24)) {
            exports.choleskyPanel(n, a, p, inverse, ...rows, scratch);
          }
          update(p, next, end);
        }
        update(k, end, n);
      }
      exports.choleskyClear(n, a);
    };
    for (const n of ORDERS) {
      const given = randomValues(n * n).map((v, at) => (at % (n + 1) === 0 ? n + v : v));
      agree(kernels, `${mode} ${n}`, (isWhole) => {
        const a = kernels.put(given);
        const scratch = kernels.scratch(exports.choleskyScratch(n));
        const inverse = kernels.scratch(Number(exports.CHOLESKY_BLOCK_BYTES));
        if (isWhole) assert.is(exports.choleskyFactor(n, a, scratch), -1);
        else inParts(n, a, inverse, scratch);
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
      agree(kernels, `${mode} ${n}`, (isWhole) => {
        const [l, out] = [kernels.put(given), kernels.scratch(4 * n * n)];
        const scratch = kernels.scratch(exports.choleskyInverseScratch(n));
        if (isWhole) exports.choleskyInverse(n, l, out, scratch);
        else {
          for (const name of ["choleskyInverseDiagonals", "choleskyInverseColumns"]) {
            for (const range of cuts(0, n, block)) exports[name](n, l, out, ...range, scratch);
          }
        }
        return kernels.read(out, n * n);
      });
    }
  });
}

test.run();
