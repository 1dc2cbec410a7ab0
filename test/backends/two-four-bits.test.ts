// Products of many tokens with a packed 2:4 matrix have the bits of those with it dense.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { SHAPES } from "../../src/backends/wasm/tune.js";
import { openWasm } from "../../src/backends/wasm.js";
import { denseLeaf, twoFourLeaf } from "../../src/forms/leaf.js";
import { availableModes } from "../bench/contenders.js";
import { random, randomValues } from "./operands.js";

const test = suite("two-four bits");

const FORMATS = ["f32", "f16", "bf16"] as const;

/** Rows and columns: a block of k or several, whole ones and not, and odd numbers of groups. */
const SIZES = [
  [3, 4],
  [8, 44],
  [17, 516],
  [9, 1100],
  [131, 1540],
] as const;

/** A 2:4 matrix [rows, cols] with zeros and the smallest values among those that it keeps. */
function sparse(rows: number, cols: number): Float32Array {
  const w = new Float32Array(rows * cols);
  for (let at = 0; at < w.length; at += 4) {
    for (let kept = 0; kept < 2; kept++) {
      const size = random() < 0.1 ? 2 ** -24 : 1;
      w[at + Math.floor(random() * 4)] = size * Math.round(256 * (random() - 0.5));
    }
  }
  return w;
}

async function check(
  backend: Backend,
  format: (typeof FORMATS)[number],
  tokens: number,
  [rows, cols]: readonly [number, number],
): Promise<void> {
  const { ops } = backend;
  const width = Math.ceil(cols / 8);
  const w = backend.upload(sparse(rows, cols), [rows, cols]);
  const [values, codes] = [backend.zeros([rows, cols / 2]), backend.zeros([rows, width], "u8")];
  assert.is(await ops.packTwoFour(w, values, codes), -1);
  const held = (tensor: typeof w) => {
    if (format === "f32") return tensor;
    const bits = backend.zeros(tensor.shape, "u16");
    ops.narrow(tensor, bits, format);
    return bits;
  };
  const dense = await ops.prepare(denseLeaf(held(w), [rows, cols], format));
  const packed = await ops.prepare(twoFourLeaf(held(values), codes, [rows, cols], format));
  const x = backend.upload(randomValues(tokens * cols), [tokens, cols]);
  for (const bias of [undefined, backend.upload(randomValues(rows), [1, rows])]) {
    const products = [dense, packed].map(async (weight) => {
      const out = backend.zeros([tokens, rows]);
      ops.multiply(x, weight, out, { bias });
      return backend.read(out);
    });
    const [expected, found] = await Promise.all(products);
    assert.equal(found, expected, `${format}: ${tokens} tokens, [${rows}, ${cols}], ${!!bias}`);
  }
}

for (const simd of availableModes()) {
  for (const [shape, name] of SHAPES.entries()) {
    test(`${simd}, ${name}: as many tokens as it says, and more`, async () => {
      const backend = await openWasm({ simd, shape, threads: 1 });
      const least = backend.packsFrom!;
      for (const format of FORMATS) {
        for (const size of SIZES) await check(backend, format, least, size);
        for (const tokens of [33, 48, 57, 96, 300]) await check(backend, format, tokens, SIZES[3]);
      }
      backend.dispose();
    });
  }
}

test("threads change nothing", async () => {
  const backend = await openWasm({ threads: 3 });
  for (const size of [SIZES[4], [300, 2048]] as const) await check(backend, "bf16", 520, size);
  backend.dispose();
});

test.run();
