import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Leaf } from "../../src/form.js";
import { partRules } from "../../src/forms/leaf.js";
import {
  isCodes,
  packCodes,
  packedParts,
  shapeBytes,
  unpackCodes,
} from "../../src/forms/packed-grid.js";
import { Random } from "../../src/random.js";

const test = suite("forms/packed-grid");

function leafOf(rows: number, cols: number, bits: number, groupSize?: number): Leaf<undefined> {
  const numbers = { kind: "grid", bits, groupSize, symmetric: groupSize === undefined } as const;
  const structure = { kind: "dense" } as const;
  return { kind: "leaf", shape: [rows, cols], structure, numbers, parts: new Map() };
}

const ruleOf = (leaf: Leaf<undefined>, part: string) =>
  partRules(leaf).find(({ name }) => name === part)!;

const hex = (bytes: Uint8Array) =>
  [...new Uint32Array(bytes.buffer)].map((word) => word.toString(16).padStart(8, "0"));

test("golden words", () => {
  const four = leafOf(1, 8, 4);
  const codes = Uint8Array.from({ length: 8 }, (_, i) => i);
  assert.equal(hex(packCodes(four, ruleOf(four, "values"), codes)), ["76543210"]);
  const three = leafOf(1, 11, 3);
  const split = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7);
  assert.equal(hex(packCodes(three, ruleOf(three, "values"), split)), ["c0000001", "00000001"]);
  const eight = leafOf(1, 4, 8);
  const bytes = Uint8Array.of(1, 128, 255, 0);
  assert.equal(packCodes(eight, ruleOf(eight, "values"), bytes), bytes);
  // Zero points go down the rows: two groups, nine rows.
  const nine = leafOf(9, 8, 4, 4);
  const zeros = Uint8Array.from({ length: 18 }, (_, i) => (i % 2 === 0 ? i / 2 : 15));
  const words = hex(packCodes(nine, ruleOf(nine, "zeros"), zeros));
  assert.equal(words, ["76543210", "ffffffff", "00000008", "0000000f"]);
  assert.equal([...shapeBytes([3, 258])], [3, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
});

test("codes come back as they were, at all bits", () => {
  const random = new Random(3);
  for (let bits = 1; bits <= 8; bits++) {
    for (const rows of [1, 7, 8, 64]) {
      for (const cols of [1, 31, 32, 33, 172, 256]) {
        const leaf = leafOf(rows, cols, bits, 32);
        for (const part of ["values", "zeros"]) {
          const rule = ruleOf(leaf, part);
          const size = rule.shape[0] * rule.shape[1];
          const codes = Uint8Array.from({ length: size }, () => random.next() * 2 ** bits);
          const packed = packCodes(leaf, rule, codes);
          const { shape } = packedParts(leaf).find(({ name }) => name === part)!;
          assert.is(packed.length, 4 * shape[0] * shape[1], `${bits} bits, ${rows}x${cols}`);
          assert.equal(unpackCodes(leaf, rule, packed), codes, `${bits} bits, ${rows}x${cols}`);
        }
      }
    }
  }
});

test("of 2:4 matrices the kept codes are packed, and the indices stay bytes", () => {
  for (let bits = 1; bits <= 8; bits++) {
    for (const cols of [4, 32, 36, 172]) {
      const dense = leafOf(3, cols, bits);
      const leaf = { ...dense, structure: { kind: "n:m", n: 2, m: 4 } } as const;
      const shapes = new Map(packedParts(leaf).map(({ name, ...part }) => [name, part]));
      assert.equal(shapes.get("values")!.shape, [3, Math.ceil(((cols / 2) * bits) / 32)]);
      assert.equal(shapes.get("indices"), { dtypes: ["U8"], shape: [3, Math.ceil(cols / 8)] });
      assert.not.ok(isCodes(ruleOf(leaf, "indices")));
      const rule = ruleOf(leaf, "values");
      const codes = Uint8Array.from({ length: 3 * (cols / 2) }, (_, i) => (7 * i) % 2 ** bits);
      assert.equal(unpackCodes(leaf, rule, packCodes(leaf, rule, codes)), codes);
    }
  }
});

test("a code that is too large is not packed, and bits after the last code are refused", () => {
  const leaf = leafOf(2, 5, 3);
  const rule = ruleOf(leaf, "values");
  const codes = new Uint8Array(10).fill(7);
  const packed = packCodes(leaf, rule, codes);
  assert.equal(unpackCodes(leaf, rule, packed), codes);
  codes[4] = 8;
  assert.throws(() => packCodes(leaf, rule, codes), /code 8 does not fit 3 bits/);
  packed[7] = 1;
  assert.is(unpackCodes(leaf, rule, packed), undefined);
});

test.run();
