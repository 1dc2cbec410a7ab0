import { suite } from "uvu";
import * as assert from "uvu/assert";
import { IN_COLUMNS, IN_ROWS, PACKED } from "../../src/backends/wasm/product.js";
import { SHAPES, tuningOf } from "../../src/backends/wasm/tune.js";
import { openWasm } from "../../src/backends/wasm.js";
import { type Instance, MODES, openInstance } from "./instance.js";
import { assertWithin, EPSILON, randomValues } from "./operands.js";

const test = suite("gemm shapes");

/** Around the tiles of every shape, and beyond one block of each dimension. */
const PRODUCTS: readonly (readonly [m: number, n: number, k: number])[] = [
  [1, 1, 1],
  [2, 11, 3],
  [3, 12, 4],
  [4, 8, 5],
  [5, 13, 7],
  [6, 24, 8],
  [7, 25, 9],
  [13, 23, 31],
  [25, 49, 130],
  [29, 397, 401],
  [2071, 9, 389],
  [131, 125, 1030],
];

/** On either side of panels of queries and of keys, and with windows that begin within one. */
const ATTENTIONS: readonly (readonly [
  queries: number,
  keys: number,
  dim: number,
  window: number,
])[] = [
  [1, 1, 4, 1],
  [9, 9, 8, 9],
  [25, 50, 20, 50],
  [31, 101, 64, 101],
  [50, 50, 12, 1],
  [75, 131, 8, 37],
  [40, 200, 16, 83],
];

function product([m, n, k]: readonly number[], a: Float32Array, b: Float32Array) {
  const values = new Float64Array(m * n);
  const sizes = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      for (let p = 0; p < k; p++) {
        const term = a[i * k + p] * b[p * n + j];
        values[i * n + j] += term;
        sizes[i * n + j] += Math.abs(term);
      }
    }
  }
  return { values, sizes };
}

function transposed(a: Float32Array, cols: number): Float32Array {
  const rows = a.length / cols;
  return a.map((_, at) => a[(at % rows) * cols + Math.floor(at / rows)]);
}

/** One product in every layout of its operands, whole and cut; all must agree bit for bit. */
function everyWay(kernels: Instance, shape: readonly number[], a: Float32Array, b: Float32Array) {
  const { exports } = kernels;
  const [m, n, k] = shape;
  const [aT, bT] = [transposed(a, k), transposed(b, n)];
  let first: Float32Array | undefined;
  const agree = (result: Float32Array, what: string) => {
    first ??= result;
    assert.equal(result, first, what);
  };
  for (const [left, right] of [0, 1, 2, 3].map((i) => [i & 1, i >> 1])) {
    const [aAt, bAt] = [kernels.put(left ? aT : a), kernels.put(right ? bT : b)];
    const out = kernels.scratch(4 * m * n);
    const scratch = kernels.scratch(exports.gemmScratch(m, n, k));
    const [lda, ldb] = [left ? m : k, right ? k : n];
    const layouts = [left ? IN_COLUMNS : IN_ROWS, right ? IN_ROWS : IN_COLUMNS];
    const operands = [aAt, lda, layouts[0], bAt, ldb, layouts[1]];
    exports.gemmMultiply(m, n, k, ...operands, out, n, 1, 1, scratch);
    agree(kernels.read(out, m * n), `${shape} transposed ${left} ${right}`);
    kernels.reset();
  }
  for (const width of [8, 24]) {
    const [aAt, bAt] = [kernels.put(a), kernels.put(b)];
    const out = kernels.scratch(4 * m * n);
    for (let col = 0; col < n; col += width) {
      const count = Math.min(width, n - col);
      const scratch = kernels.scratch(exports.gemmScratch(m, count, k));
      const [from, to] = [bAt + 4 * col, out + 4 * col];
      const operands = [aAt, k, IN_ROWS, from, n, IN_COLUMNS];
      exports.gemmMultiply(m, count, k, ...operands, to, n, 1, 1, scratch);
    }
    agree(kernels.read(out, m * n), `${shape}, ${width} columns at a time`);
    kernels.reset();
  }
  for (const packed of [["a"], ["b"], ["a", "b"]]) {
    const [aAt, bAt] = [kernels.put(aT), kernels.put(b)];
    const out = kernels.scratch(4 * m * n);
    const operand = (side: "a" | "b", at: number, lines: number) => {
      if (!packed.includes(side)) return [at, lines, IN_COLUMNS];
      const panels = kernels.scratch(exports.gemmPackedBytes(lines, k));
      const call = [Number(side === "b"), lines, k, at, lines, IN_COLUMNS, 1, panels];
      // From the last to the first: no call may write into the panels of the next.
      for (let start = 120 * Math.floor((lines - 1) / 120); start >= 0; start -= 120) {
        exports.gemmPack(...call, start, Math.min(lines, start + 120));
      }
      return [panels, 0, PACKED];
    };
    const operands = [...operand("a", aAt, m), ...operand("b", bAt, n)];
    const unpacked = (lines: number, side: string) => (packed.includes(side) ? 0 : lines);
    const scratch = kernels.scratch(exports.gemmScratch(unpacked(m, "a"), unpacked(n, "b"), k));
    exports.gemmMultiply(m, n, k, ...operands, out, n, 1, 1, scratch);
    agree(kernels.read(out, m * n), `${shape}, packed ${packed}`);
    kernels.reset();
  }
  return first!;
}

for (const mode of MODES) {
  test(`${mode}: every shape, layout and cut gives the same bits`, async () => {
    const kernels = await openInstance(mode);
    for (const shape of PRODUCTS) {
      const [m, n, k] = shape;
      const [a, b] = [randomValues(m * k), randomValues(k * n)];
      const { values, sizes } = product(shape, a, b);
      const results = SHAPES.map((_, i) => {
        kernels.exports.gemmUseShape(i);
        return everyWay(kernels, shape, a, b);
      });
      const bound = (i: number) => 4 * EPSILON * Math.sqrt(k) * sizes[i];
      assertWithin(results[0], values, bound, `${mode} ${shape}`);
      for (const result of results) assert.equal(result, results[0], `${mode} ${shape}`);
    }
  });

  test(`${mode}: attention has the same bits with every shape, whole and cut`, async () => {
    const kernels = await openInstance(mode);
    const { exports } = kernels;
    const [heads, group] = [2, 2];
    for (const [queries, keys, dim, window] of ATTENTIONS) {
      const width = heads * group * dim;
      const q = randomValues(queries * width);
      const [k, v] = [0, 1].map(() => randomValues(keys * heads * dim));
      const attend = (shape: number, step: number) => {
        exports.gemmUseShape(shape);
        const [qAt, kAt, vAt] = [kernels.put(q), kernels.put(k), kernels.put(v)];
        const out = kernels.scratch(4 * queries * width);
        for (let t = 0; t < queries; t += step) {
          const count = Math.min(step, queries - t);
          const seen = keys - queries + t + count;
          const at = 4 * t * width;
          exports.attentionBlocks(
            ...[qAt + at, kAt, vAt, out + at, count, seen, heads, group, dim, window, 0.3],
            kernels.scratch(exports.attentionBlocksScratch(seen, dim)),
          );
        }
        const found = kernels.read(out, queries * width);
        kernels.reset();
        return found;
      };
      const first = attend(0, queries);
      assert.ok(first.every(Number.isFinite));
      for (const shape of SHAPES.keys()) {
        for (const step of [queries, 24, 7]) {
          const what = `${mode}: ${queries} of ${keys}, shape ${shape}, ${step} at a time`;
          assert.equal(attend(shape, step), first, what);
        }
      }
    }
  });

  test(`${mode}: the tuning measures every shape and names the fastest`, async () => {
    const backend = await openWasm({ simd: mode, threads: 1 });
    const tuning = tuningOf(mode)!;
    backend.dispose();
    assert.is(tuning.rates.length, SHAPES.length);
    assert.ok(tuning.rates.every((rate) => rate > 0));
    assert.is(tuning.rates[tuning.shape], Math.max(...tuning.rates));
    (await openWasm({ simd: mode, threads: 1 })).dispose();
    assert.is(tuningOf(mode), tuning, "measured once");
  });
}

test("a shape that there is not is refused", async () => {
  for (const shape of [-1, 4, 0.5]) {
    const error = await openWasm({ shape, threads: 1 }).catch((thrown) => thrown);
    assert.match(error.message, "is not one of 0 to 3");
  }
});

test.run();
