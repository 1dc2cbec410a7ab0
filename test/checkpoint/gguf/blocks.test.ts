import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BLOCKS } from "../../../src/checkpoint/gguf/blocks.js";
import { Random } from "../../../src/random.js";
import { askProgram, hasModules, LLAMA_CPP, withoutPython } from "../../oracles/oracles.js";
import { note, skipUnless } from "../../shared.js";

const test = suite("blocks of GGUF");
const NAMES = Object.keys(BLOCKS);
const library = hasModules("gguf");
const NO_LIBRARY = withoutPython("gguf");
/** In bytes, of each type. */
const RANDOM_BLOCKS = 400;
const WEIGHTS = 256 * 64;

function decode(name: string, bytes: Uint8Array): Float32Array {
  const { weights, bytes: size, decode } = BLOCKS[name];
  const values = new Float32Array((bytes.length / size) * weights);
  decode(bytes, values);
  return values;
}

const hex = (array: Uint8Array | Float32Array) =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("hex");

function floats(text: string): Float32Array {
  return new Float32Array(Uint8Array.from(Buffer.from(text, "hex")).buffer);
}

/** The same bits; of NaNs that both are some. */
function assertSame(found: Float32Array, expected: Float32Array, what: string): void {
  assert.is(found.length, expected.length, what);
  for (let i = 0; i < found.length; i++) {
    if (!Object.is(found[i], expected[i]))
      assert.unreachable(`${what}: value ${i} is ${found[i]}, must be ${expected[i]}`);
  }
}

function ask(questions: readonly object[]): unknown[] {
  return askProgram(questions, "checkpoint", "gguf", "oracle.py") as unknown[];
}

const random = new Random(7);
const randomBytes = (length: number) =>
  Uint8Array.from({ length }, () => Math.floor(random.next() * 256));

/** Values as weights are, some large, some zero. */
const values = Float32Array.from({ length: WEIGHTS }, (_, i) => {
  if (i % 1024 < 32) return 0;
  const normal =
    Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
  return normal * (i % 97 === 0 ? 8 : 0.05);
});

const HALF_ONE = [0x00, 0x3c];
const HALF_TWO = [0x00, 0x40];
/** Blocks whose values can be told by hand. */
const BY_HAND: readonly (readonly [string, readonly number[], (i: number) => number])[] = [
  ["Q4_0", [...HALF_TWO, ...Array(16).fill(0x90)], (i) => (i < 16 ? -16 : 2)],
  ["Q4_1", [...HALF_TWO, ...HALF_ONE, ...Array(16).fill(0x3f)], (i) => (i < 16 ? 31 : 7)],
  ["Q5_0", [...HALF_ONE, 0xff, 0xff, 0, 0, ...Array(16).fill(0)], (i) => (i < 16 ? 0 : -16)],
  ["Q8_0", [...HALF_ONE, ...Array.from({ length: 32 }, (_, i) => (256 - i) % 256)], (i) => 0 - i],
  ["MXFP4", [128, ...Array(16).fill(0xf2)], (i) => (i < 16 ? 2 : -12)],
  [
    "Q6_K",
    [...Array(128).fill(0), ...Array(64).fill(0), ...Array(16).fill(1), ...HALF_ONE],
    () => -32,
  ],
];

test("blocks are decoded to the values that they stand for", () => {
  for (const [name, bytes, expected] of BY_HAND) {
    const found = decode(name, Uint8Array.from(bytes));
    assertSame(
      found,
      Float32Array.from(found, (_, i) => expected(i)),
      name,
    );
  }
});

skipUnless(test, library, NO_LIBRARY, "random bytes are decoded as gguf does, bit for bit", () => {
  const blocks = NAMES.map((name) => randomBytes(RANDOM_BLOCKS * BLOCKS[name].bytes));
  const answers = ask(NAMES.map((type, i) => ({ type, blocks: hex(blocks[i]) })));
  for (const [i, name] of NAMES.entries()) {
    assertSame(decode(name, blocks[i]), floats(answers[i] as string), name);
  }
  note(`${NAMES.join(", ")}: ${RANDOM_BLOCKS} random blocks each, the same bits as gguf.quants`);
});

skipUnless(test, library, NO_LIBRARY, "what gguf quantizes is decoded as it does", () => {
  const made = ask(NAMES.map((type) => ({ type, values: hex(values) })));
  const known = NAMES.flatMap((type, i) => (made[i] ? [{ type, blocks: made[i] as string }] : []));
  assert.ok(known.length >= 8, `${known.length} types`);
  const answers = ask(known);
  for (const [i, { type, blocks }] of known.entries()) {
    const found = decode(type, Uint8Array.from(Buffer.from(blocks, "hex")));
    assertSame(found, floats(answers[i] as string), type);
    if (type.startsWith("TQ")) continue;
    const error = found.reduce((sum, one, j) => sum + (one - values[j]) ** 2, 0);
    const whole = values.reduce((sum, one) => sum + one ** 2, 0);
    assert.ok(error < 0.05 * whole, `${type} loses ${error / whole}`);
  }
});

skipUnless(
  test,
  library && LLAMA_CPP !== undefined,
  "llama.cpp's library is not there; test/oracles/install.mjs installs it",
  "what llama.cpp quantizes is decoded as it does, and as gguf does",
  () => {
    const made = ask(
      NAMES.map((type) => ({ type, values: hex(values), llama: LLAMA_CPP })),
    ) as (readonly [string, string])[];
    const answers = ask(NAMES.map((type, i) => ({ type, blocks: made[i][0] })));
    for (const [i, name] of NAMES.entries()) {
      const found = decode(name, Uint8Array.from(Buffer.from(made[i][0], "hex")));
      assertSame(found, floats(made[i][1]), `${name} by llama.cpp`);
      assertSame(found, floats(answers[i] as string), `${name} by gguf`);
    }
  },
);

test.run();
