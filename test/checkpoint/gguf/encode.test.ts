import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fromFloat32, toFloat32 } from "../../../src/checkpoint/dtype.js";
import { BLOCKS } from "../../../src/checkpoint/gguf/blocks.js";
import {
  encodeCodes,
  type GridLeaf,
  holdsCodes,
} from "../../../src/checkpoint/gguf/write/codes.js";
import { ENCODERS } from "../../../src/checkpoint/gguf/write/encode.js";
import type { MatrixShape, Structure } from "../../../src/form.js";
import { decodeLeaf } from "../../../src/forms/leaf.js";
import { Random } from "../../../src/random.js";
import type { TensorData } from "../../../src/tensor.js";
import { askProgram, hasModules, LLAMA_CPP, withoutPython } from "../../oracles/oracles.js";
import { note, skipUnless } from "../../shared.js";

const test = suite("blocks of GGUF are made");
const NAMES = Object.keys(ENCODERS);
/** Weights of a row that the oracle quantizes. */
const ROW = 256;

const hex = (array: Uint8Array | Float32Array) =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("hex");

function encode(name: string, values: Float32Array): Uint8Array {
  const { weights, bytes } = BLOCKS[name];
  const made = new Uint8Array((values.length / weights) * bytes);
  ENCODERS[name](values, made);
  return made;
}

function decode(name: string, bytes: Uint8Array): Float32Array {
  const { weights, bytes: size, decode } = BLOCKS[name];
  const values = new Float32Array((bytes.length / size) * weights);
  decode(bytes, values);
  return values;
}

const random = new Random(11);
const normal = () =>
  Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());

/** Values as weights are, and blocks on which rules of rounding differ. */
const values = Float32Array.from({ length: ROW * 512 }, (_, i) => {
  const block = Math.floor(i / 32);
  // Zeros, one value alone, equal values, ties of rounding, signs of one kind, very small ones.
  if (block % 64 === 0) return 0;
  if (block % 64 === 1) return i % 32 === 5 ? -3 : 0;
  if (block % 64 === 2) return 0.25;
  if (block % 64 === 3) return ((i % 32) - 16) / 2;
  if (block % 64 === 4) return 1 + random.next();
  if (block % 64 === 5) return normal() * 1e-6;
  if (block % 64 === 6) return i % 2 === 0 ? 7 : -7;
  return normal() * (i % 97 === 0 ? 8 : 0.05);
});

function ask(questions: readonly object[]): unknown[] {
  return askProgram(questions, "checkpoint", "gguf", "oracle.py") as unknown[];
}

skipUnless(
  test,
  hasModules("gguf"),
  withoutPython("gguf"),
  "as the package gguf makes them, bit for bit",
  () => {
    const answers = ask(NAMES.map((type) => ({ type, values: hex(values) })));
    for (const [i, name] of NAMES.entries()) {
      assert.is(hex(encode(name, values)), answers[i], name);
    }
    note(`${NAMES.join(", ")}: ${values.length} weights each, the same bytes as gguf.quants`);
  },
);

skipUnless(
  test,
  LLAMA_CPP !== undefined && hasModules("gguf"),
  "llama.cpp's library is not there; test/oracles/install.mjs installs it",
  "as llama.cpp makes them, bit for bit",
  () => {
    const questions = NAMES.map((type) => ({ type, values: hex(values), llama: LLAMA_CPP }));
    const answers = ask(questions) as (readonly [string, string])[];
    for (const [i, name] of NAMES.entries()) {
      assert.is(hex(encode(name, values)), answers[i][0], name);
    }
    note(`${NAMES.join(", ")}: ${values.length} weights each, the same bytes as llama.cpp`);
  },
);

test("what they stand for is near what was given, and zeros stay zeros", () => {
  const most: Readonly<Record<string, number>> = { Q8_0: 0.01, Q5_0: 0.07, Q5_1: 0.07 };
  for (const name of NAMES) {
    const found = decode(name, encode(name, values));
    for (let block = 0; block < values.length; block += 32) {
      const own = values.subarray(block, block + 32);
      // A scale that is a subnormal half is off by 2^-25 at most, which codes of up to 127 multiply.
      const size = own.reduce((one, value) => Math.max(one, Math.abs(value)), 0);
      for (let i = 0; i < 32; i++) {
        const gap = Math.abs(found[block + i] - own[i]);
        assert.ok(gap <= (most[name] ?? 0.13) * size + 2 ** -18, `${name} ${block + i}: ${gap}`);
        if (!name.endsWith("_1") && own[i] === 0) assert.is(Math.abs(found[block + i]), 0);
      }
    }
  }
});

interface Codes {
  readonly bits: number;
  readonly symmetric: boolean;
  readonly groupSize?: number | undefined;
  readonly structure?: Structure;
}

const SHAPE: MatrixShape = [6, 128];
/** Scales that are halves. */
const HALF = toFloat32(
  { name: "scales", dtype: "F16" },
  fromFloat32("F16", Float32Array.of(0.5, -0.125, 1 / 3, 3.0517578125e-5)),
);

/** Random codes on a grid whose scales are halves. */
function leafOf({ bits, symmetric, groupSize, structure = { kind: "dense" } }: Codes) {
  const [rows, cols] = SHAPE;
  const kept = structure.kind === "n:m" ? structure.n / structure.m : 1;
  const groups = cols / (groupSize ?? cols);
  const draw = (length: number, below: number) =>
    Uint8Array.from({ length }, () => Math.floor(random.next() * below));
  const parts = new Map<string, TensorData>([
    ["values", draw(rows * cols * kept, 2 ** bits)],
    ["scales", Float32Array.from({ length: rows * groups }, (_, i) => HALF[i % HALF.length])],
  ]);
  if (!symmetric) parts.set("zeros", draw(rows * groups, 2 ** bits));
  // Of 2:4 the second and the fourth column of four.
  if (structure.kind === "n:m") parts.set("indices", new Uint8Array((rows * cols) / 8).fill(0xdd));
  const numbers = { kind: "grid", bits, symmetric, groupSize } as const;
  return { kind: "leaf", shape: SHAPE, structure, numbers, parts } as const;
}

const EXACT: readonly (readonly [string, Codes])[] = [
  ["Q4_0", { bits: 4, symmetric: true, groupSize: 32 }],
  ["Q4_0", { bits: 3, symmetric: true, groupSize: 64 }],
  ["Q4_0", { bits: 4, symmetric: true, groupSize: 32, structure: { kind: "n:m", n: 2, m: 4 } }],
  ["Q5_0", { bits: 5, symmetric: true, groupSize: 128 }],
  ["Q5_0", { bits: 2, symmetric: true }],
  ["Q8_0", { bits: 8, symmetric: true, groupSize: 32 }],
  ["Q8_0", { bits: 4, symmetric: true, groupSize: 32 }],
];

for (const [type, codes] of EXACT) {
  test(`${type} from codes is exactly what they stand for: ${JSON.stringify(codes)}`, () => {
    const leaf = leafOf(codes);
    assert.ok(holdsCodes(type, leaf));
    const found = decode(type, encodeCodes(type, leaf as GridLeaf<TensorData>));
    assert.equal([...found].map(Math.abs), [...decodeLeaf(leaf)].map(Math.abs));
    assert.equal([...found].map(Math.sign), [...decodeLeaf(leaf)].map(Math.sign));
  });
}

for (const [type, bits] of [
  ["Q4_1", 4],
  ["Q5_1", 5],
  ["Q5_1", 3],
] as const) {
  test(`${type} from codes of ${bits} bits with zero points rounds the minimum alone`, () => {
    const leaf = leafOf({ bits, symmetric: false, groupSize: 32 });
    assert.ok(holdsCodes(type, leaf));
    const made = encodeCodes(type, leaf as GridLeaf<TensorData>);
    const [found, own] = [decode(type, made), decodeLeaf(leaf)];
    const [zeros, scales] = ["zeros", "scales"].map((name) => leaf.parts.get(name)!);
    for (let i = 0; i < own.length; i++) {
      const minimum = Math.abs(zeros[i >> 5] * scales[i >> 5]);
      assert.ok(Math.abs(found[i] - own[i]) <= minimum * 2 ** -11 + 1e-7, `${i}`);
    }
  });
}

test("codes that a type has no room for are none of its", () => {
  const of = (codes: Codes) => NAMES.filter((type) => holdsCodes(type, leafOf(codes)));
  assert.equal(of({ bits: 4, symmetric: true, groupSize: 32 }), NAMES);
  assert.equal(of({ bits: 8, symmetric: true }), ["Q8_0"]);
  assert.equal(of({ bits: 4, symmetric: false, groupSize: 32 }), ["Q4_1", "Q5_1"]);
  assert.equal(of({ bits: 5, symmetric: false, groupSize: 64 }), ["Q5_1"]);
  assert.equal(of({ bits: 8, symmetric: false, groupSize: 32 }), []);
  assert.equal(of({ bits: 4, symmetric: true, groupSize: 16 }), []);
});

test.run();
