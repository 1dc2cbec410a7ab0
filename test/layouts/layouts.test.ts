import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PenjingError } from "../../src/errors.js";
import { LAYOUT_KEY, type TensorEntry } from "../../src/layout.js";
import {
  findLayout,
  layoutConfig,
  layoutFiles,
  layoutMetadata,
  layoutOf,
  layouts,
} from "../../src/layouts/index.js";
import { allLayouts, casesFor, readyFor, reopened, SIZES, sparseMatrix } from "./matrices.js";

const test = suite("layouts");

/** Runs of a property: fewer for layouts whose smallest matrix is a whole tile. */
const RUNS = { numRuns: 40 };

/** What is refused is refused in one sentence that names something. */
function isRefused(work: () => unknown): void {
  assert.throws(work, (error: unknown) => error instanceof PenjingError);
}

for (const [title, layout] of allLayouts) {
  test(`${title}: unpack(pack(x)) is x, bit for bit, in the entries announced`, () => {
    const shifts = fc.integer({ min: 0, max: 3 });
    fc.assert(
      fc.property(casesFor(layout), shifts, ({ weight, bytes }, shift) => {
        assert.is(layout.refusal(weight), undefined);
        const unaligned = new Uint8Array(bytes.length + shift).subarray(shift);
        unaligned.set(bytes);
        const ready = readyFor(layout, { weight, bytes });
        const parts = ready.pack(weight, unaligned);
        const entries = ready.entries(weight);
        assert.equal([...parts.keys()].sort(), entries.map(({ name }) => name).sort());
        for (const { name, dtype, shape } of entries) {
          const size = SIZES[dtype] * shape.reduce((a, b) => a * b, 1);
          assert.is(parts.get(name)?.length, size, `${name} ${dtype} [${shape}]`);
        }
        const reader = reopened(ready, weight);
        assert.equal(reader.weights(entries), [weight]);
        assert.is(Buffer.compare(reader.unpack(weight, parts), bytes), 0);
      }),
      RUNS,
    );
  });

  if (layout.name === "dense") continue;

  test(`${title}: refuses parts that are missing, cut short or grown`, () => {
    fc.assert(
      fc.property(casesFor(layout), fc.nat(9), (given, pick) => {
        const { weight, bytes } = given;
        const ready = readyFor(layout, given);
        const parts = ready.pack(weight, bytes);
        const names = [...parts.keys()];
        const name = names[pick % names.length];
        const part = parts.get(name)!;
        const without = new Map([...parts].filter(([other]) => other !== name));
        isRefused(() => ready.unpack(weight, without));
        const grown = new Uint8Array(part.length + 1);
        isRefused(() => ready.unpack(weight, new Map(parts).set(name, grown)));
        if (part.length > 0) {
          const cut = new Map(parts).set(name, part.subarray(1));
          isRefused(() => ready.unpack(weight, cut));
        }
        isRefused(() => ready.pack(weight, new Uint8Array(bytes.length + 1)));
      }),
      RUNS,
    );
  });

  test(`${title}: refuses a file whose tensors contradict each other`, () => {
    const given = sparseMatrix("BF16", 128, 128);
    const ready = readyFor(layout, given);
    const entries = ready.entries(given.weight);
    const norm: TensorEntry = { name: "norm.weight", dtype: "BF16", shape: [128] };
    assert.equal(ready.weights([norm, ...entries]), [given.weight]);
    assert.equal(ready.weights([norm]), []);
    isRefused(() => ready.weights([...entries, given.weight]));
    entries.forEach((entry, i) => {
      const changed = (change: Partial<TensorEntry>) => entries.with(i, { ...entry, ...change });
      isRefused(() => ready.weights(changed({ dtype: "U64" })));
      isRefused(() => ready.weights(changed({ shape: [...entry.shape, 1] })));
      isRefused(() => ready.weights(changed({ shape: entry.shape.map((n) => n + 1) })));
      if (entries.length > 1) isRefused(() => ready.weights(entries.toSpliced(i, 1)));
    });
  });

  test(`${title}: its mark in a file's metadata leads back to it`, () => {
    const { weight, bytes } = sparseMatrix("BF16", 128, 128);
    const ready = readyFor(layout, { weight, bytes });
    const reader = reopened(ready, weight);
    assert.is(reader.name, layout.name);
    assert.equal(reader.entries(weight), ready.entries(weight));
    const mark = JSON.parse(layoutMetadata(ready, [weight])[LAYOUT_KEY]);
    assert.is(mark.version, layout.version);
    assert.is(mark.confirmed, layout.confirmed);
    for (const name of Object.keys(layout.files ?? {}))
      assert.ok(layoutFiles(layouts).includes(name));
  });
}

for (const layout of Object.values(layouts).filter(({ holds }) => holds === "2:4")) {
  test(`${layout.name}: refuses a group of 3 or 4 non-zeros by its row and group`, () => {
    for (const count of [3, 4]) {
      const { weight, bytes } = sparseMatrix("BF16", 128, 128);
      const bits = new Uint16Array(bytes.buffer);
      bits.fill(0, (77 * 32 + 9) * 4);
      bits.fill(1, (77 * 32 + 9) * 4, (77 * 32 + 9) * 4 + count);
      assert.throws(
        () => layout.pack(weight, bytes),
        /\[m\.weight\] row 77, group 9 \(columns 36 to 39\) has more than 2 non-zeros; prune it/,
      );
    }
  });
}

for (const [title, layout] of allLayouts) {
  if (layout.name === "dense") continue;
  test(`${title}: a -0 that is not kept is a zero; bits of NaN and of kept numbers stay`, () => {
    const weight: TensorEntry = { name: "m.weight", dtype: "BF16", shape: [128, 128] };
    const bits = new Uint16Array(128 * 128);
    // A NaN with a payload and the smallest number, between zeros of both signs.
    bits.set([0x8000, 0xffc1, 0x0001, 0x8000], 4 * 700);
    const bytes = new Uint8Array(bits.buffer);
    const ready = readyFor(layout, { weight, bytes });
    const back = ready.unpack(weight, ready.pack(weight, bytes));
    const kept = [...new Uint16Array(back.buffer, 4 * 700 * 2, 4)];
    assert.equal(kept, [0, 0xffc1, 0x0001, 0]);
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
    ['{"name":"cutlass+pad","version":1}', /damaged/],
    ['{"name":"two-four","version":1,"weights":{"a":{"shape":[4,4]}}}', /does not need/],
    ['{"name":"cutlass","version":1,"weights":[{"shape":[4]}]}', /damaged/],
    ['{"name":"cutlass","version":1,"weights":{"a":{"shape":[4,-4]}}}', /damaged/],
    ['{"name":"cutlass","version":1,"weights":{"a":null}}', /damaged/],
    ['{"name":"sparse-bitmask","version":1,"weights":{"a":{"values":0.5}}}', /damaged/],
  ];
  for (const [mark, message] of cases) {
    assert.throws(() => layoutOf({ [LAYOUT_KEY]: mark }, "f.safetensors"), message, mark);
  }
  assert.throws(() => findLayout("two_four"), /layout.*did you mean "two-four"/);
  assert.throws(() => findLayout("cutless+pad"), /did you mean "cutlass\+pad"/);
  assert.throws(() => findLayout("two-four+pad"), /which two-four never needs; write two-four/);
});

test("config.json says how the weights are packed only where a layout's readers need it", () => {
  const find = (name: string) => layouts[name];
  const config = { model_type: "llama", hidden_size: 8 };
  for (const name of ["dense", "two-four", "cutlass", "cusparselt-sm80", "cusparselt-sm90"]) {
    assert.is(layoutConfig(config, find("dense"), find(name), []), undefined);
  }
  const there = layoutConfig(config, find("two-four"), find("sparse-24-bitmask"), ["lm_head"])!;
  assert.equal(there, {
    ...config,
    quantization_config: {
      quant_method: "compressed-tensors",
      version: "0.12.3",
      sparsity_config: {
        format: "sparse-24-bitmask",
        global_sparsity: 0.5,
        ignore: ["lm_head"],
        sparsity_structure: "2:4",
        targets: ["Linear"],
      },
      transform_config: {},
    },
  });
  assert.equal(layoutConfig(there, find("sparse-24-bitmask"), find("dense"), []), config);
});

test.run();
