import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend, HalfFormat } from "../../src/backend.js";
import {
  type FitOptions,
  factorsOf,
  groupCount,
} from "../../src/backends/operations/fit-scales.js";
import { fromFloat32, toFloat32 } from "../../src/checkpoint/dtype.js";
import { decodeLeaf } from "../../src/forms/leaf.js";
import { refused } from "../checkpoint/crafted.js";
import { blank, input, OPENERS, output, outputBytes, random, randomValues } from "./operands.js";

const test = suite("fit-scales");

type Options = Omit<FitOptions, "mask"> & { readonly symmetric: boolean };

interface Fitted {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array | undefined;
}

/** What a backend makes of a matrix, its operands in frames that must stay as they are. */
async function fit(
  backend: Backend,
  [w, omega, mask]: readonly [Float32Array, Float32Array, Uint8Array | undefined],
  cols: number,
  { symmetric, ...options }: Options,
): Promise<Fitted & { readonly values: Float32Array }> {
  const rows = w.length / cols;
  const groups = groupCount(cols, options.groupSize);
  const codes = outputBytes(backend, w.length, cols);
  const scales = blank(backend, rows * groups, groups);
  const zeros = symmetric ? undefined : outputBytes(backend, rows * groups, groups);
  const grid = { codes: codes.view, scales: scales.view, zeros: zeros?.view };
  const kept = mask && input(backend, mask, cols);
  const weights = backend.upload(omega, [cols]);
  await backend.ops.fitScales(input(backend, w, cols), weights, grid, { ...options, mask: kept });
  const values = output(backend, new Float32Array(w.length), cols);
  await backend.ops.fromGrid(grid, values.view, options);
  return {
    codes: await codes.read(),
    scales: await scales.read(),
    zeros: await zeros?.read(),
    values: await values.read(),
  };
}

/** Weights of a few sizes, with groups of zeros, of one sign, and of one large value among them. */
function weightsOf(rows: number, cols: number): Float32Array {
  const w = randomValues(rows * cols).map((value) => value ** 3 * 0.1);
  for (let i = 0; i < cols; i++) {
    if (rows > 1) w[cols + i] = 0;
    if (rows > 2) w[2 * cols + i] = Math.abs(w[2 * cols + i]) + 0.5;
    if (rows > 3) w[3 * cols + i] *= 1e-6;
  }
  if (rows > 4) w[4 * cols] = 30;
  return w;
}

function leafOf({ codes, scales, zeros }: Fitted, cols: number, options: Options): Float32Array {
  const parts = new Map<string, Uint8Array | Float32Array>([
    ["values", codes],
    ["scales", scales],
  ]);
  if (zeros) parts.set("zeros", zeros);
  const { bits, groupSize, symmetric } = options;
  return decodeLeaf({
    kind: "leaf",
    shape: [codes.length / cols, cols],
    structure: { kind: "dense" },
    numbers: { kind: "grid", bits, groupSize, symmetric },
    parts,
  });
}

/** The weighted error of each group in float64. */
function errorsOf(
  w: Float32Array,
  values: Float32Array,
  omega: Float32Array,
  cols: number,
  groupSize: number,
): Float64Array {
  const groups = groupCount(cols, groupSize);
  const errors = new Float64Array((w.length / cols) * groups);
  w.forEach((value, i) => {
    const [row, col] = [Math.floor(i / cols), i % cols];
    const at = row * groups + Math.floor(col / groupSize);
    errors[at] += omega[col] * (values[i] - value) ** 2;
  });
  return errors;
}

const roundAs = (scales: Float32Array, dtype: HalfFormat) =>
  toFloat32(
    { name: "scales", dtype: dtype.toUpperCase() },
    fromFloat32(dtype.toUpperCase(), scales),
  );

const CASES: readonly (readonly [rows: number, cols: number, groupSize: number])[] = [
  [1, 1, 32],
  [0, 8, 4],
  [5, 31, 32],
  [6, 33, 32],
  [7, 172, 32],
  [70, 48, 16],
  [5, 40, 4096],
  [6, 130, 7],
];

for (const symmetric of [true, false]) {
  for (const bits of [1, 2, 3, 4, 5, 8]) {
    for (const [rows, cols, groupSize] of CASES) {
      const search = bits !== 1;
      const scaleType = bits % 2 === 0 ? "f16" : "bf16";
      const options = { bits, groupSize, symmetric, search, scaleType } as const;
      const what = `${rows}x${cols} ${JSON.stringify(options)}`;
      test(`${what}: every backend gives the same, and it is right`, async () => {
        const w = weightsOf(rows, cols);
        const omega = Float32Array.from({ length: cols }, () => random() + 1e-6);
        const mask = bits === 4 ? Uint8Array.from(w, () => Number(random() < 0.5)) : undefined;
        let first: Fitted | undefined;
        for (const open of OPENERS) {
          const backend = await open();
          const found = await fit(backend, [w, omega, mask], cols, options);
          first ??= found;
          assert.equal(found.codes, first.codes, `${open.name}: codes`);
          assert.equal(found.scales, first.scales, `${open.name}: scales`);
          assert.equal(found.zeros, first.zeros, `${open.name}: zero points`);
          assert.equal(found.values, leafOf(found, cols, options), `${open.name}: values`);
          // Scales are what can be stored, and no code is beyond its bits.
          assert.equal(found.scales, roundAs(found.scales, scaleType));
          assert.ok(found.codes.every((code) => code < 2 ** bits));
          mask?.forEach((kept, i) => {
            if (kept === 0)
              assert.ok(found.values[i] === 0, `a masked weight is ${found.values[i]}`);
          });
          backend.dispose();
        }
      });
    }
  }
}

for (const open of OPENERS) {
  test(`${open.name}: the search never does worse than the span of a group`, async () => {
    const backend = await open();
    const [rows, cols, groupSize] = [12, 70, 32];
    const w = weightsOf(rows, cols);
    const omega = Float32Array.from({ length: cols }, () => random() ** 4 + 1e-4);
    for (const symmetric of [true, false]) {
      for (const bits of [1, 2, 3, 4, 6]) {
        const options = { bits, groupSize, symmetric, scaleType: "f16" } as const;
        const plain = await fit(backend, [w, omega, undefined], cols, {
          ...options,
          search: false,
        });
        const found = await fit(backend, [w, omega, undefined], cols, { ...options, search: true });
        const before = errorsOf(w, plain.values, omega, cols, groupSize);
        const after = errorsOf(w, found.values, omega, cols, groupSize);
        after.forEach((error, i) => {
          assert.ok(
            error <= before[i] * (1 + 1e-5),
            `${bits} bits, group ${i}: ${error} > ${before[i]}`,
          );
        });
        const sum = (errors: Float64Array) => errors.reduce((total, error) => total + error, 0);
        if (bits <= 3) assert.ok(sum(after) < 0.95 * sum(before), `${bits} bits: no gain`);
      }
    }
    backend.dispose();
  });

  test(`${open.name}: what plain rounding gives, by hand`, async () => {
    const backend = await open();
    const options = { bits: 2, groupSize: 4, scaleType: "f16", search: false } as const;
    const ones = new Float32Array(4).fill(1);
    // m = 3: s = 3 / 1.5 = 2; 1 and -3 lie halfway between codes, and go to the even one.
    const w = Float32Array.of(3, 1, -3, -0.9);
    const even = await fit(backend, [w, ones, undefined], 4, { ...options, symmetric: true });
    assert.equal([...even.scales], [2]);
    assert.equal([...even.codes], [3, 2, 0, 2]);
    // From 0, which is a code of every grid, to 3: s = 1, z = 0.
    const above = Float32Array.of(3, 1, 2.4, 0.5);
    const found = await fit(backend, [above, ones, undefined], 4, { ...options, symmetric: false });
    assert.equal([...found.scales, ...found.zeros!], [1, 0]);
    assert.equal([...found.codes], [3, 1, 2, 0]);
    const zero = await fit(backend, [new Float32Array(4), ones, undefined], 4, {
      ...options,
      symmetric: true,
    });
    assert.equal([...zero.scales, ...zero.codes], [2 ** -14, 2, 2, 2, 2]);
    backend.dispose();
  });

  test(`${open.name}: NaN and infinity show in the scales`, async () => {
    const backend = await open();
    const options = {
      bits: 4,
      groupSize: 4,
      scaleType: "f16",
      search: true,
      symmetric: true,
    } as const;
    const ones = new Float32Array(8).fill(1);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const w = Float32Array.of(1, bad, 2, 3, 1, 2, 3, 4);
      const { scales } = await fit(backend, [w, ones, undefined], 8, options);
      assert.not.ok(Number.isFinite(scales[0]), `${bad} became ${scales[0]}`);
      assert.ok(Number.isFinite(scales[1]));
    }
    backend.dispose();
  });
}

test("options that no grid has are refused", async () => {
  const backend = await OPENERS[0]();
  const w = backend.zeros([2, 8]);
  const codes = backend.zeros([2, 8], "u8");
  const grid = { codes, scales: backend.zeros([2, 2]) };
  const options = { bits: 4, groupSize: 4, scaleType: "f16", search: true } as const;
  const refuse = (pattern: RegExp, change: object, changed: object = {}) =>
    refused(
      async () =>
        backend.ops.fitScales(
          w,
          backend.zeros([8]),
          { ...grid, ...changed },
          { ...options, ...change },
        ),
      pattern,
    );
  for (const bits of [0, 9, 2.5]) await refuse(/bits is .* from 1 to 8/, { bits });
  for (const groupSize of [0, 1.5]) await refuse(/groupSize is/, { groupSize });
  await refuse(/scales is \[2,2\], must be \[2, 3\]/, { groupSize: 3 });
  await refuse(/zeros is/, {}, { zeros: backend.zeros([2, 3], "u8") });
  await refuse(/mask is/, { mask: backend.zeros([2, 4], "u8") });
});

test("the candidates are as many as documented", () => {
  const counts = [1, 2, 3, 4, 5, 7, 8].map((bits) =>
    [true, false].map((s) => factorsOf(bits, s, true).length),
  );
  assert.equal(counts, [
    [41, 36],
    [41, 36],
    [41, 36],
    [26, 15],
    [1, 1],
    [1, 1],
    [0, 0],
  ]);
});

test.run();
