// Blocks of K types as they are made here, held against llama.cpp's own.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BLOCKS } from "../../../src/checkpoint/gguf/blocks.js";
import { firstOverflow } from "../../../src/checkpoint/gguf/write/encode.js";
import { K_ENCODERS } from "../../../src/checkpoint/gguf/write/k-types.js";
import { Random } from "../../../src/random.js";
import { askProgram, hasModules, LLAMA_CPP, withoutPython } from "../../oracles/oracles.js";
import { note, skipUnless } from "../../shared.js";

const test = suite("blocks of K types are made");
const NAMES = Object.keys(K_ENCODERS);
/** Weights of a row, and of a block. */
const ROW = 256;

const hex = (array: Uint8Array | Float32Array) =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("hex");

function unhex(text: string): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(text, "hex")).buffer);
}

function encode(name: string, values: Float32Array, importance?: Float32Array): Uint8Array {
  const made = new Uint8Array((values.length / ROW) * BLOCKS[name].bytes);
  K_ENCODERS[name](values, made, importance);
  return made;
}

function decode(name: string, bytes: Uint8Array): Float32Array {
  const values = new Float32Array((bytes.length / BLOCKS[name].bytes) * ROW);
  BLOCKS[name].decode(bytes, values);
  return values;
}

const random = new Random(5);
const normal = () =>
  Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());

/** Rows as weights are: of one size, of runs of many sizes, with some large ones, far from 0. */
const rows = Float32Array.from({ length: ROW * 256 }, (_, i) => {
  const [kind, run] = [Math.floor(i / ROW) % 4, Math.floor(i / 32)];
  if (kind === 0) return 0.05 * normal();
  if (kind === 1) return 0.01 * (1 + ((run * 7) % 5)) * normal();
  if (kind === 2) return 0.03 * normal() * (i % 41 === 0 ? 10 : 1);
  return 0.02 * (normal() + (run % 3) - 1);
});
const importance = Float32Array.from({ length: ROW }, () => Math.exp(2 * normal()));

/** Errors, each multiplied by its column's weight. */
function errorOf(found: Float32Array, weights?: Float32Array): number {
  return found.reduce(
    (sum, value, i) => sum + (weights?.[i % ROW] ?? 1) * (value - rows[i]) ** 2,
    0,
  );
}

skipUnless(
  test,
  LLAMA_CPP !== undefined && hasModules("gguf"),
  "llama.cpp's library is not there; test/oracles/install.mjs installs it",
  "errors are no larger than those of llama.cpp's own, with importance and without",
  () => {
    const values = hex(rows);
    const given = [undefined, importance];
    const questions = NAMES.flatMap((type) =>
      given.map((one) => ({ type, values, llama: LLAMA_CPP, importance: one && hex(one) })),
    );
    const answers = askProgram(questions, "checkpoint", "gguf", "oracle.py") as string[][];
    const said: string[] = [];
    for (const [n, name] of NAMES.entries()) {
      for (const [g, weights] of given.entries()) {
        const own = errorOf(decode(name, encode(name, rows, weights)), weights);
        const other = errorOf(unhex(answers[n * given.length + g][1]), weights);
        said.push(`${name}${weights ? " weighed" : ""} x${(own / other).toFixed(4)}`);
        assert.ok(own <= other, `${said.at(-1)}: ${own}, ${other}`);
      }
    }
    note(`squared errors as multiples of llama.cpp's: ${said.join(", ")}`);
  },
);

skipUnless(
  test,
  hasModules("gguf"),
  withoutPython("gguf"),
  "the package gguf decodes them to the values that are read here",
  () => {
    const made = NAMES.map((name) => encode(name, rows));
    const questions = NAMES.map((type, i) => ({ type, blocks: hex(made[i]) }));
    const answers = askProgram(questions, "checkpoint", "gguf", "oracle.py");
    assert.equal(
      answers,
      NAMES.map((name, i) => hex(decode(name, made[i]))),
    );
  },
);

/** The largest distance of a code from the next one, as a share of a run's range. */
const STEP: Readonly<Record<string, number>> = { Q4_K: 1 / 15, Q5_K: 1 / 31, Q6_K: 1 / 32 };

test("no value is off by more than a step of its run", () => {
  for (const name of NAMES) {
    const found = decode(name, encode(name, rows));
    const length = name === "Q6_K" ? 16 : 32;
    for (let start = 0; start < rows.length; start += length) {
      const run = rows.subarray(start, start + length);
      const most = Math.max(...run.map(Math.abs));
      const range = name === "Q6_K" ? most : Math.max(0, ...run) - Math.min(0, ...run);
      // What the scales are rounded to is shared with the block's other runs.
      const block = rows.subarray(start - (start % ROW), start - (start % ROW) + ROW);
      const shared = Math.max(...block.map(Math.abs)) / 63;
      for (let i = 0; i < length; i++) {
        const gap = Math.abs(found[start + i] - run[i]);
        assert.ok(gap <= STEP[name] * range + shared, `${name} ${start + i}: ${gap} of ${range}`);
      }
    }
  }
});

test("blocks without a range, and columns that weigh nothing", () => {
  const zeros = new Float32Array(ROW);
  const same = new Float32Array(ROW).fill(-0.5);
  const tiny = new Float32Array(ROW).fill(1e-30);
  for (const name of NAMES) {
    assert.ok(decode(name, encode(name, zeros)).every((value) => value === 0));
    assert.ok(decode(name, encode(name, same)).every((value) => Math.abs(value + 0.5) < 4e-3));
    assert.ok(decode(name, encode(name, tiny)).every((value) => Math.abs(value) < 1e-7));
    const found = decode(name, encode(name, rows, zeros));
    assert.ok(errorOf(found) < 1.5 * errorOf(decode(name, encode(name, rows))), name);
  }
});

test("columns that weigh nothing beside others keep values near their own", () => {
  const some = importance.map((weight, j) => (j % 32 === 3 ? weight : 0));
  const size = rows.reduce((sum, value) => sum + value * value, 0);
  for (const name of NAMES) {
    const share = errorOf(decode(name, encode(name, rows, some))) / size;
    note(`${name}: with one column of 32 that weighs, errors are ${share.toExponential(1)}`);
    assert.ok(share < 0.02, `${name}: ${share}`);
  }
});

test("zeros stay zeros where there are no minima", () => {
  const pruned = rows.map((value, i) => (i % 4 < 2 ? 0 : value));
  const found = decode("Q6_K", encode("Q6_K", pruned));
  assert.ok(found.every((value, i) => pruned[i] !== 0 || value === 0));
});

test("values that halves do not hold are found, block by block", () => {
  for (const name of NAMES) {
    const large = rows.slice(0, 4 * ROW);
    const { bytes } = BLOCKS[name];
    assert.is(firstOverflow(name, encode(name, large), bytes), -1);
    large[2 * ROW + 7] = -1e9;
    assert.is(firstOverflow(name, encode(name, large), bytes), 2, name);
  }
});

test.run();
