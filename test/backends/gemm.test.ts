import { suite } from "uvu";
import type { Backend } from "../../src/backend.js";
import type { GemmOptions } from "../../src/backends/operations/gemm.js";
import {
  assertWithin,
  EPSILON,
  input,
  isGpu,
  OPENERS,
  output,
  randomValues,
  SIZES,
} from "./operands.js";

const test = suite("gemm");

interface Product {
  readonly values: Float64Array;
  /** The sums of |a| |b|, which rounding errors are measured against. */
  readonly sizes: Float64Array;
}

/** [m, k] times [k, n], whose element (i, p) is at a[i * aRow + p * aStep], likewise (p, j) of b. */
function product(
  [m, n, k]: readonly number[],
  a: Float32Array,
  [aRow, aStep]: readonly number[],
  b: Float32Array,
  [bStep, bCol]: readonly number[],
): Product {
  const values = new Float64Array(m * n);
  const sizes = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      for (let p = 0; p < k; p++) {
        const term = a[i * aRow + p * aStep] * b[p * bStep + j * bCol];
        values[i * n + j] += term;
        sizes[i * n + j] += Math.abs(term);
      }
    }
  }
  return { values, sizes };
}

async function checkGemm(
  backend: Backend,
  m: number,
  n: number,
  k: number,
  options: GemmOptions,
): Promise<void> {
  const { transposeA = false, transposeB = false, alpha = 1, accumulate = false } = options;
  const [a, b, before] = [randomValues(m * k), randomValues(k * n), randomValues(m * n)];
  const [aCols, bCols] = [transposeA ? m : k, transposeB ? k : n];
  // Of an operand without elements, a frame cannot tell [0, n] from [n, 0].
  const upload = (data: Float32Array, rows: number, cols: number) =>
    data.length === 0 ? backend.zeros([rows, cols]) : input(backend, data, cols);
  const first = accumulate ? before : new Float32Array(m * n).fill(Number.NaN);
  const out = m * n === 0 ? undefined : output(backend, first, n);
  backend.ops.gemm(
    upload(a, transposeA ? k : m, aCols),
    upload(b, transposeB ? n : k, bCols),
    out?.view ?? backend.zeros([m, n]),
    options,
  );
  if (!out) return;
  const aSteps = transposeA ? [1, m] : [k, 1];
  const bSteps = transposeB ? [1, k] : [n, 1];
  const { values, sizes } = product([m, n, k], a, aSteps, b, bSteps);
  const expected = values.map((value, i) => alpha * value + (accumulate ? before[i] : 0));
  const bound = (i: number) =>
    4 * EPSILON * (Math.sqrt(k) * Math.abs(alpha) * sizes[i] + Math.abs(before[i]));
  const what = `${backend.name} ${m}x${n}x${k} ${JSON.stringify(options)}`;
  assertWithin(await out.read(), expected, bound, what);
}

const ORIENTATIONS: readonly GemmOptions[] = [
  {},
  { transposeA: true },
  { transposeB: true },
  { transposeA: true, transposeB: true },
];

for (const open of OPENERS) {
  test(`${open.name}: gemm of every small shape and orientation`, async () => {
    let turn = 0;
    for (const [i, m] of SIZES.entries()) {
      const backend = await open();
      for (const [j, n] of SIZES.entries()) {
        for (const [l, k] of SIZES.entries()) {
          // A software adapter takes 10 ms for each: every pair of two sizes, with one third.
          if (isGpu(open) && (i + j + l) % SIZES.length !== 3) continue;
          const orientation = ORIENTATIONS[turn % 4];
          const scaling = turn % 3 === 0 ? {} : { alpha: -1.5, accumulate: turn % 3 === 1 };
          await checkGemm(backend, m, n, k, { ...orientation, ...scaling });
          turn++;
        }
      }
      backend.dispose();
    }
  });

  test(`${open.name}: gemm beyond one block of each dimension`, async () => {
    const backend = await open();
    for (const orientation of ORIENTATIONS) await checkGemm(backend, 37, 397, 401, orientation);
    await checkGemm(backend, 2053, 9, 389, { accumulate: true });
    for (const m of [63, 64, 65]) await checkGemm(backend, m, 129 - m, 17, { transposeB: true });
    backend.dispose();
  });

  test(`${open.name}: linear for one token to many`, async () => {
    for (const tokens of [0, 1, 2, 3, 4, 5, 7, 12, 13, 33]) {
      const backend = await open();
      for (const [outFeatures, inFeatures] of [
        [1, 1],
        [3, 5],
        [4, 4],
        [5, 3],
        [7, 31],
        [9, 33],
        [33, 8],
        [67, 397],
      ]) {
        const [x, w] = [randomValues(tokens * inFeatures), randomValues(outFeatures * inFeatures)];
        const bias = tokens % 2 ? randomValues(outFeatures) : undefined;
        const blank = new Float32Array(tokens * outFeatures).fill(Number.NaN);
        const out = output(backend, blank, outFeatures);
        backend.ops.multiply(
          input(backend, x, inFeatures),
          input(backend, w, inFeatures),
          out.view,
          bias && { bias: input(backend, bias, outFeatures) },
        );
        const shape = [tokens, outFeatures, inFeatures];
        const { values, sizes } = product(shape, x, [inFeatures, 1], w, [1, inFeatures]);
        const expected = values.map((value, i) => value + (bias?.[i % outFeatures] ?? 0));
        const bound = (i: number) => 4 * EPSILON * (Math.sqrt(inFeatures) * sizes[i] + 1);
        assertWithin(await out.read(), expected, bound, `${backend.name} linear ${shape}`);
      }
      backend.dispose();
    }
  });
}

test.run();
