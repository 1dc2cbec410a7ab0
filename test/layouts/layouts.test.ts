import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TensorEntry } from "../../src/layout.js";
import {
  findLayout,
  LAYOUT_KEY,
  layoutMetadata,
  layoutOf,
  layouts,
} from "../../src/layouts/index.js";

const test = suite("layouts");

const BYTES: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2 };

/** A 2:4 matrix of any float dtype as bytes: every layout must bring its bits back. */
const weights = fc
  .record({
    rows: fc.integer({ min: 0, max: 9 }),
    groups: fc.integer({ min: 0, max: 9 }),
    dtype: fc.constantFrom("F32" as const, "F16" as const, "BF16" as const),
  })
  .chain(({ rows, groups, dtype }) =>
    fc
      .array(
        fc.record({
          slots: fc.uniqueArray(fc.integer({ min: 0, max: 3 }), { maxLength: 2 }),
          elements: fc.uint8Array({ minLength: 8, maxLength: 8 }),
        }),
        { minLength: rows * groups, maxLength: rows * groups },
      )
      .map((content) => {
        const size = BYTES[dtype];
        const bytes = new Uint8Array(rows * groups * 4 * size);
        content.forEach(({ slots, elements }, group) => {
          slots.forEach((slot, i) => {
            // A low bit set in every element: no element is a zero, of whatever dtype.
            const element = elements.slice(i * 4, i * 4 + size);
            element[0] |= 1;
            bytes.set(element, (group * 4 + slot) * size);
          });
        });
        return {
          weight: { name: "w", dtype, shape: [rows, groups * 4] } satisfies TensorEntry,
          bytes,
        };
      }),
  );

for (const layout of layouts.values()) {
  test(`${layout.name}: unpack(pack(x)) is x, bit for bit, in the entries announced`, () => {
    fc.assert(
      fc.property(weights, fc.integer({ min: 0, max: 3 }), ({ weight, bytes }, shift) => {
        assert.is(layout.refusal(weight), undefined);
        const unaligned = new Uint8Array(bytes.length + shift).subarray(shift);
        unaligned.set(bytes);
        const parts = layout.pack(weight, unaligned);
        const entries = layout.entries(weight);
        assert.equal(
          [...parts.keys()],
          entries.map(({ name }) => name),
        );
        for (const { name, dtype, shape } of entries) {
          const size = (BYTES[dtype] ?? 1) * shape.reduce((a, b) => a * b, 1);
          assert.is(parts.get(name)?.length, size, `${name} ${dtype} [${shape}]`);
        }
        assert.equal(layout.weights(entries), [weight]);
        assert.equal([...layout.unpack(weight, parts)], [...bytes]);
      }),
    );
  });

  test(`${layout.name}: its mark in a file's metadata leads back to it`, () => {
    assert.is(findLayout(layout.name), layout);
    assert.is(layoutOf({ ...layoutMetadata(layout), format: "pt" }, "file"), layout);
  });
}

test("a file without a mark is dense; a mark that lies is refused", () => {
  assert.is(layoutOf({}, "file").name, "dense");
  const cases: [string, RegExp][] = [
    ["{", /\[f\.safetensors\].*damaged/],
    ["null", /damaged/],
    ['{"name":"two-four"}', /damaged/],
    ['{"name":"two-for","version":1}', /did you mean "two-four"/],
    ['{"name":"two-four","version":2}', /version 2.*reads version 1/],
    ['{"name":"__proto__","version":1}', /not a layout/],
  ];
  for (const [mark, message] of cases) {
    assert.throws(() => layoutOf({ [LAYOUT_KEY]: mark }, "f.safetensors"), message);
  }
  assert.throws(() => findLayout("two_four"), /--layout.*did you mean "two-four"/);
});

test.run();
