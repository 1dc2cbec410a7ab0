// Grids with units, as ggml's K types have them: what the operations on grids make of whole blocks.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { nearestHalf } from "../../src/backends/operations/fit-scales.js";
import { halfValues } from "../../src/checkpoint/dtype.js";
import { BLOCKS } from "../../src/checkpoint/gguf/blocks.js";
import { encodeCodes, holdsCodes } from "../../src/checkpoint/gguf/write/codes.js";
import { K_ENCODERS } from "../../src/checkpoint/gguf/write/k-types.js";
import type { KTypeName, Leaf } from "../../src/form.js";
import { K_TYPES } from "../../src/forms/k-type.js";
import { decodeLeaf, leafDamage } from "../../src/forms/leaf.js";
import type { TensorData } from "../../src/tensor.js";
import { refused } from "../checkpoint/crafted.js";
import { assertLevels, frameGrid, type HostGrid, kGrid, maskInput } from "./grid-operands.js";
import { input, OPENERS, output, random, randomValues } from "./operands.js";

const test = suite("grid-blocks");
const TYPES = Object.keys(K_TYPES) as KTypeName[];
const [ROWS, COLS] = [9, 512];

/** Rows of weights of one size, of zeros, of one sign, tiny, with a large one, and far from 0. */
function weights(): Float32Array {
  const w = randomValues(ROWS * COLS).map((value) => value ** 3 * 0.1);
  for (let i = 0; i < COLS; i++) {
    w[COLS + i] = 0;
    w[2 * COLS + i] = -Math.abs(w[2 * COLS + i]) - 0.5;
    w[3 * COLS + i] = Math.abs(w[3 * COLS + i]) + 0.5;
    w[4 * COLS + i] *= 1e-6;
    w[6 * COLS + i] = 0.25;
    w[7 * COLS + i] *= Math.floor(i / 16) % 5;
  }
  w[5 * COLS + 3] = 30;
  return w;
}

async function fit(
  backend: Backend,
  w: Float32Array,
  omega: Float32Array,
  type: KTypeName,
  { search = true, mask }: { search?: boolean; mask?: Uint8Array | undefined } = {},
): Promise<HostGrid & { readonly values: Float32Array }> {
  const cols = omega.length;
  const options = kGrid(type, search);
  const grid = frameGrid(backend, [w.length / cols, cols], options);
  const kept = maskInput(backend, mask, cols);
  const vector = backend.upload(omega, [cols]);
  await backend.ops.fitScales(input(backend, w, cols), vector, grid.tensors, {
    ...options,
    mask: kept,
  });
  const values = output(backend, new Float32Array(w.length), cols);
  await backend.ops.fromGrid(grid.tensors, values.view, options);
  return { ...(await grid.read()), values: await values.read() };
}

function leafOf(type: KTypeName, cols: number, { codes, scales, minima, units }: HostGrid) {
  const parts = new Map<string, TensorData>([
    ["values", codes],
    ["scales", scales],
    ["units", units!],
  ]);
  if (minima) parts.set("minima", minima);
  const shape = [codes.length / cols, cols] as const;
  const structure = { kind: "dense" } as const;
  const leaf: Leaf<TensorData> = {
    ...{ kind: "leaf", shape, structure, numbers: { kind: "k-type", type }, parts },
  };
  return leaf;
}

/** The weighed error of each row, in float64. */
function errorsOf(w: Float32Array, values: Float32Array, omega: Float32Array): number[] {
  const errors = new Array<number>(w.length / omega.length).fill(0);
  w.forEach((value, i) => {
    errors[Math.floor(i / omega.length)] += omega[i % omega.length] * (values[i] - value) ** 2;
  });
  return errors;
}

for (const type of TYPES) {
  for (const search of [true, false]) {
    test(`${type}, search ${search}: every backend gives the same, as the blocks store it`, async () => {
      const w = weights();
      const omega = Float32Array.from({ length: COLS }, () => random() ** 4 + 1e-6);
      const isMasked = type === "Q6_K" && search;
      const mask = isMasked ? Uint8Array.from(w, () => Number(random() < 0.5)) : undefined;
      let first: HostGrid | undefined;
      for (const open of OPENERS) {
        const backend = await open();
        const { values, ...found } = await fit(backend, w, omega, type, { search, mask });
        first ??= found;
        assert.equal(found, first, open.name);
        assertLevels(found);
        const leaf = leafOf(type, COLS, found);
        assert.is(leafDamage(leaf), undefined);
        assert.equal(values, decodeLeaf(leaf), `${open.name}: values`);
        mask?.forEach((kept, i) => {
          if (kept === 0) assert.ok(values[i] === 0, `a masked weight is ${values[i]}`);
        });
        assert.ok(holdsCodes(type, leaf));
        const bytes = encodeCodes(type, leaf);
        assert.is(bytes.length, (w.length / 256) * BLOCKS[type].bytes);
        const decoded = new Float32Array(w.length);
        BLOCKS[type].decode(bytes, decoded);
        assert.equal(decoded, values, `${open.name}: values of the blocks`);
        backend.dispose();
      }
    });
  }
}

for (const open of OPENERS) {
  test(`${open.name}: errors are about those of the encoders, less with weights`, async () => {
    const backend = await open();
    const w = randomValues(32 * COLS).map((value) => value ** 3 * 0.1);
    const ones = new Float32Array(COLS).fill(1);
    const omega = Float32Array.from({ length: COLS }, () => random() ** 4 + 1e-3);
    const sum = (errors: number[]) => errors.reduce((total, error) => total + error, 0);
    for (const type of TYPES) {
      const bytes = new Uint8Array((w.length / 256) * BLOCKS[type].bytes);
      K_ENCODERS[type](w, bytes);
      const encoded = new Float32Array(w.length);
      BLOCKS[type].decode(bytes, encoded);
      const [plain, spanned] = [
        await fit(backend, w, ones, type),
        await fit(backend, w, ones, type, { search: false }),
      ].map(({ values }) => sum(errorsOf(w, values, ones)));
      assert.ok(plain < 1.01 * sum(errorsOf(w, encoded, ones)), `${type}: ${plain}`);
      assert.ok(plain < spanned, `${type}: ${plain}, without search ${spanned}`);
      const { values } = await fit(backend, w, omega, type);
      const [weighed, other] = [values, encoded].map((made) => sum(errorsOf(w, made, omega)));
      assert.ok(weighed < 0.9 * other, `${type}: ${weighed} of ${other}`);
    }
    backend.dispose();
  });

  test(`${open.name}: NaN and infinity show in the units`, async () => {
    const backend = await open();
    const ones = new Float32Array(256).fill(1);
    for (const type of TYPES) {
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 1e9]) {
        const w = randomValues(512);
        w[20] = bad;
        const { units } = await fit(backend, w, ones, type);
        const [one, other] = [units![0], units![units!.length / 2]];
        assert.not.ok(Number.isFinite(one), `${type}: ${bad} became ${one}`);
        assert.ok(Number.isFinite(other));
      }
    }
    backend.dispose();
  });
}

test("halves are the nearest ones", () => {
  const halves = halfValues().subarray(0, 0x7c00);
  for (let i = 0; i < 20_000; i++) {
    const at = Math.floor(random() * (halves.length - 1));
    const [low, high] = [halves[at], halves[at + 1]];
    const value = Math.fround(low + random() * (high - low));
    const nearest = value - low < high - value ? low : high;
    const isTie = value - low === high - value;
    const found = nearestHalf(value);
    assert.ok(found === nearest || (isTie && found === low), `${value} became ${found}`);
    assert.is(nearestHalf(-value), -found);
  }
  assert.is(nearestHalf(65519), 65504);
  assert.is(nearestHalf(65520), Number.POSITIVE_INFINITY);
});

test("grids that no K type is are refused", async () => {
  const backend = await OPENERS[0]();
  const refuse = (pattern: RegExp, cols: number, more: object, size = 32, mask = false) =>
    refused(async () => {
      const codes = backend.zeros([2, cols], "u8");
      const scales = backend.zeros([2, Math.ceil(cols / size)]);
      const options = { ...kGrid("Q4_K"), groupSize: size, mask: mask ? codes : undefined };
      const w = backend.zeros([2, cols]);
      await backend.ops.fitScales(w, backend.zeros([cols]), { codes, scales, ...more }, options);
    }, pattern);
  const [minima, units] = [backend.zeros([2, 8]), backend.zeros([2, 2])];
  await refuse(/minima needs units/, 256, { minima });
  await refuse(/no zero points/, 256, { minima, units, zeros: backend.zeros([2, 8], "u8") });
  await refuse(/with minima no mask/, 256, { minima, units }, 32, true);
  await refuse(
    /groups of 32 in whole blocks of 256/,
    256,
    { minima: backend.zeros([2, 16]), units },
    16,
  );
  await refuse(/groups of 16 in whole blocks of 256/, 256, { units });
  await refuse(/whole blocks of 256 columns, found 32 in 288/, 288, {
    minima: backend.zeros([2, 9]),
    units,
  });
  await refuse(/units is \[2,3\]/, 256, { minima, units: backend.zeros([2, 3]) });
  backend.dispose();
});

test.run();
