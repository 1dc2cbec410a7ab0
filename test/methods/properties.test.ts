import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { backends, openBackend } from "../../src/backends/index.js";
import { type PrunedLinear, type PruneLinearOptions, pruneLinear } from "../../src/prune.js";
import { LARGEST_M } from "../../src/sparsity.js";
import { refused } from "../checkpoint/crafted.js";
import { SELECTION_METHODS } from "../golden.js";
import { canTest } from "../webgpu/adapter.js";

const test = suite("properties");

const names = Object.keys(backends).filter(canTest);
const opened = await Promise.all(names.map((name) => openBackend(name)));

/** A layer's problem; the values follow from `salt`. */
interface Layer {
  readonly rows: number;
  readonly cols: number;
  readonly tokens: number;
  readonly salt: number;
}

/** Normal-looking values from a linear congruential sequence. */
function values(size: number, salt: number): Float32Array {
  let state = (salt * 2654435761 + 12345) >>> 0;
  return Float32Array.from({ length: size }, () => {
    let sum = -2;
    for (let i = 0; i < 4; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += state / 2 ** 32;
    }
    return sum;
  });
}

function problem({ rows, cols, tokens, salt }: Layer) {
  return {
    rows,
    cols,
    weight: values(rows * cols, salt),
    activations: values(tokens * cols, salt + 1),
  };
}

const layers = (cols: fc.Arbitrary<number>): fc.Arbitrary<Layer> =>
  fc.record({
    rows: fc.integer({ min: 1, max: 9 }),
    cols,
    tokens: fc.integer({ min: 1, max: 40 }),
    salt: fc.nat(1e6),
  });

const anyLayer = layers(fc.integer({ min: 1, max: 40 }));

const patterns = fc
  .integer({ min: 1, max: LARGEST_M })
  .chain((m) => fc.tuple(fc.integer({ min: 1, max: m }), fc.constant(m)));

/** Any N:M with a layer that it divides. */
const patternLayers = patterns.chain(([n, m]) =>
  fc.record({
    n: fc.constant(n),
    m: fc.constant(m),
    layer: layers(fc.integer({ min: 1, max: 5 }).map((groups) => groups * m)),
  }),
);

const RATIOS = fc.integer({ min: 0, max: 99 }).map((percent) => percent / 100);

function keptIn(mask: Uint8Array, start: number, count: number): number {
  return mask.subarray(start, start + count).reduce((sum, kept) => sum + kept, 0);
}

/** What holds of every result: masks of 0 and 1, removed weights 0, no wild values. */
function assertSound({ weight }: PruneLinearOptions, pruned: PrunedLinear): void {
  assert.is(pruned.weight.length, weight.length);
  assert.is(pruned.mask.length, weight.length);
  pruned.mask.forEach((kept, i) => {
    assert.ok(kept === 0 || kept === 1);
    assert.ok(Number.isFinite(pruned.weight[i]), `weight ${i} is ${pruned.weight[i]}`);
    if (kept === 0) assert.is(Math.abs(pruned.weight[i]), 0, `removed weight ${i}`);
  });
  const removed = pruned.mask.length - keptIn(pruned.mask, 0, pruned.mask.length);
  assert.ok(Math.abs(pruned.sparsity - removed / pruned.mask.length) < 1e-12);
}

const WITHOUT_UPDATE = ["magnitude", "wanda", "nowag"];

function assertUpdate(method: string, { weight }: PruneLinearOptions, pruned: PrunedLinear): void {
  if (!WITHOUT_UPDATE.includes(method)) return;
  pruned.mask.forEach((kept, i) => {
    if (kept === 1) assert.is(pruned.weight[i], weight[i], `kept weight ${i} changed`);
  });
}

/** Cases of a property: a software adapter takes seconds for what takes others milliseconds. */
const runsOn = (backend: Backend, runs: number) =>
  backend.name === "webgpu" ? Math.ceil(runs / 12) : runs;

for (const backend of opened) {
  for (const method of SELECTION_METHODS) {
    test(`${method} on ${backend.name}: N:M keeps exactly N of every M`, async () => {
      await fc.assert(
        fc.asyncProperty(patternLayers, async ({ n, m, layer }) => {
          const options = { ...problem(layer), method, sparsity: `${n}:${m}`, backend };
          const pruned = await pruneLinear(options);
          assertSound(options, pruned);
          assertUpdate(method, options, pruned);
          for (let start = 0; start < pruned.mask.length; start += m) {
            assert.is(keptIn(pruned.mask, start, m), n, `group at ${start}`);
          }
        }),
        { numRuns: runsOn(backend, 60) },
      );
    });

    test(`${method} on ${backend.name}: unstructured removes floor(n * ratio)`, async () => {
      await fc.assert(
        fc.asyncProperty(
          anyLayer,
          RATIOS,
          fc.integer({ min: 1, max: 50 }),
          async (layer, sparsity, blockSize) => {
            const { rows, cols } = layer;
            const isSweep = method === "sparsegpt";
            // In whole percents the count is exact; n * ratio may fall below a whole number.
            const countOf = (n: number) => Math.floor((n * Math.round(sparsity * 100)) / 100);
            const choice: Record<string, number> = isSweep ? { blockSize } : {};
            const options = { ...problem(layer), method, sparsity, options: choice, backend };
            const pruned = await pruneLinear(options);
            assertSound(options, pruned);
            assertUpdate(method, options, pruned);
            const removed = (indices: number[]) =>
              indices.filter((i) => pruned.mask[i] === 0).length;
            const all = [...pruned.mask.keys()];
            if (method === "wanda") {
              for (let row = 0; row < rows; row++) {
                const ofRow = all.slice(row * cols, (row + 1) * cols);
                assert.is(removed(ofRow), countOf(cols), `row ${row}`);
              }
            } else if (isSweep) {
              for (let start = 0; start < cols; start += blockSize) {
                const end = Math.min(cols, start + blockSize);
                const ofBlock = all.filter((i) => i % cols >= start && i % cols < end);
                const expected = countOf(rows * (end - start));
                assert.is(removed(ofBlock), expected, `columns from ${start}`);
              }
            } else assert.is(removed(all), countOf(rows * cols));
          },
        ),
        { numRuns: runsOn(backend, 60) },
      );
    });

    test(`${method} on ${backend.name}: of equal weights the lowest columns go`, async () => {
      const [rows, cols] = [3, 16];
      const weight = new Float32Array(rows * cols).fill(0.5);
      // One column after the other is used alone and alike, so H is a multiple of the identity.
      const activations = Float32Array.from({ length: cols * cols }, (_, i) =>
        i % (cols + 1) === 0 ? 2 : 0,
      );
      const layer = { weight, rows, cols, activations, method, backend };
      for (const [n, m] of [
        [2, 4],
        [1, 4],
        [5, 8],
        [4, 16],
      ]) {
        const { mask } = await pruneLinear({ ...layer, sparsity: `${n}:${m}` });
        mask.forEach((kept, i) => {
          assert.is(kept, i % m >= m - n ? 1 : 0, `${n}:${m}, ${i}`);
        });
      }
      const { mask } = await pruneLinear({ ...layer, sparsity: 0.25 });
      mask.forEach((kept, i) => {
        const lowest = method === "wanda" ? i % cols < cols / 4 : i < mask.length / 4;
        assert.is(kept, lowest ? 0 : 1, `25%, ${i}`);
      });
    });

    test(`${method} on ${backend.name}: removing nothing changes nothing`, async () => {
      await fc.assert(
        fc.asyncProperty(anyLayer, fc.constantFrom("0%", "1:1"), async (layer, sparsity) => {
          const options = { ...problem(layer), method, sparsity, backend };
          const pruned = await pruneLinear(options);
          assert.equal([...pruned.weight], [...options.weight]);
          assert.ok(pruned.mask.every((kept) => kept === 1));
          assert.is(pruned.layerError, 0);
          if (method === "sparsegpt") assert.is(pruned.figures.predictedLoss, 0);
        }),
        { numRuns: runsOn(backend, 20) },
      );
    });

    test(`${method} on ${backend.name}: inputs that are always zero`, async () => {
      const { weight, activations } = problem({ rows: 6, cols: 24, tokens: 50, salt: 3 });
      const dead = [1, 2, 3, 9, 23];
      const silent = activations.map((x, i) => (dead.includes(i % 24) ? 0 : x));
      const layer = { weight, rows: 6, cols: 24, activations: silent, method, backend };
      for (const sparsity of ["2:4", "50%"]) {
        const options = { ...layer, sparsity };
        const pruned = await pruneLinear(options);
        assertSound(options, pruned);
        if (method === "sparsegpt") {
          assert.match(pruned.notes.join(), "5 inputs were always zero");
          for (const col of dead) assert.is(pruned.weight[24 + col], 0, `${sparsity} ${col}`);
        }
      }
      const nothing = { ...layer, activations: new Float32Array(24) };
      const pruned = await pruneLinear(nothing);
      assertSound(nothing, pruned);
      assert.is(pruned.layerError, 0);
      assert.is(pruned.sparsity, 0.5);
    });
  }

  test(`sparsegpt on ${backend.name}: a Hessian that does not factorise raises the damping`, async () => {
    const { weight, rows, cols } = problem({ rows: 4, cols: 32, tokens: 1, salt: 5 });
    // Every input is the same: H has rank 1.
    const activations = new Float32Array(8 * cols).fill(1);
    const layer = { weight, rows, cols, activations, method: "sparsegpt", backend };
    const options = { damping: 0 };
    const raised = await pruneLinear({ ...layer, options });
    assertSound({ ...layer, options }, raised);
    assert.match(raised.notes.join(), "damping was raised from 0 to 0.01 so that the Hessian");
    const asked = await pruneLinear({ ...layer, options: { damping: 0.01 } });
    assert.equal(asked.notes, []);
    assert.equal([...raised.weight], [...asked.weight]);
  });

  test(`sparsegpt on ${backend.name}: what is no Hessian at all is refused`, async () => {
    const [rows, cols] = [2, 4];
    const weight = values(8, 1);
    const hessian = Float32Array.from({ length: 16 }, (_, i) => (i % 5 === 0 ? 1 : 1e6));
    await refused(
      () => pruneLinear({ weight, rows, cols, hessian, method: "sparsegpt", backend }),
      /^\[pruneLinear\] the Hessian .* does not factorise even with damping 1000; give more/,
    );
    const negative = hessian.map((h) => -h);
    await refused(
      () => pruneLinear({ weight, rows, cols, hessian: negative, method: "wanda", backend }),
      /negative elements on its diagonal/,
    );
  });

  test(`${backend.name}: nothing stays in memory, whether it works or fails`, async () => {
    const before = backend.memory().live;
    const { weight, rows, cols, activations } = problem({ rows: 4, cols: 8, tokens: 9, salt: 1 });
    for (const method of SELECTION_METHODS) {
      await pruneLinear({ weight, rows, cols, activations, method, backend });
      const broken = activations.map((x, i) => (i === 20 ? Number.NaN : x));
      await refused(
        () => pruneLinear({ weight, rows, cols, activations: broken, method, backend }),
        /activations hold 1 values that are NaN or infinite/,
      );
      assert.is(backend.memory().live, before, method);
    }
    const hessian = new Float32Array(64).fill(1e6).map((h, i) => (i % 9 === 0 ? 1 : h));
    await refused(() => pruneLinear({ weight, rows, cols, hessian, backend }), /factorise/);
    assert.is(backend.memory().live, before, "a Hessian that does not factorise");
  });
}

test("every backend gives the same masks for magnitude", async () => {
  await fc.assert(
    fc.asyncProperty(
      anyLayer,
      RATIOS,
      fc.integer({ min: 1, max: 50 }),
      async (layer, ratio, levels) => {
        const { rows, cols, weight } = problem(layer);
        // Few levels make many ties.
        const coarse = weight.map((w) => Math.round(w * levels) / levels);
        const masks = [];
        for (const backend of opened) {
          const options = { weight: coarse, rows, cols, method: "magnitude", backend };
          masks.push([...(await pruneLinear({ ...options, sparsity: ratio })).mask]);
        }
        for (const mask of masks) assert.equal(mask, masks[0]);
      },
    ),
    { numRuns: names.includes("webgpu") ? 20 : 60 },
  );
});

const GOOD = problem({ rows: 2, cols: 8, tokens: 5, salt: 9 });

/** Each with what is wrong in place of a problem that works. */
const BAD: readonly (readonly [wrong: object, message: RegExp])[] = [
  [{ sparsity: "2:3" }, /^\[pruneLinear\] 8 columns are not a multiple of the M in 2:3; choose/],
  [{ sparsity: "3:2" }, /^\[pruneLinear: sparsity\] "3:2"/],
  [
    { method: "magnitud" },
    /^\[pruneLinear\] method is "magnitud", must be .*; did you mean "magnitude"\?/,
  ],
  [
    { options: { dampin: 1 } },
    /^\[pruneLinear: sparsegpt\] "dampin" is not an option.*did you mean "damping"/,
  ],
  [{ options: { damping: 200 } }, /damping is 200, must be a number from 0 to 100/],
  [{ backend: "wasn" }, /^\[backend\] "wasn" is not a backend; did you mean "wasm"/],
  [{ rows: 3 }, /weight has 16 elements, must have rows \* cols = 24/],
  [{ rows: -2, cols: -8 }, /rows is -2 and cols -8, must be whole numbers of at least 1/],
  [{ rows: 0.5, cols: 32 }, /rows is 0\.5 and cols 32/],
  [{ weight: new Float32Array(0), rows: 0 }, /rows is 0/],
  [
    { weight: Float64Array.from(GOOD.weight) },
    /weight is an object \(Float64Array\), must be a Float32Array; convert an array/,
  ],
  [
    { activations: new Float32Array(12) },
    /activations have 12 elements.*whole number of rows of 8/,
  ],
  [{ activations: new Float32Array(0) }, /activations have 0 elements/],
  [{ activations: undefined }, /sparsegpt needs the layer's inputs; give activations or hessian/],
  [{ activations: undefined, method: "wanda" }, /wanda needs the layer's inputs/],
  [
    { activations: undefined, method: "magnitude", options: { refit: 4 } },
    /refit needs the layer's inputs; give activations or hessian, or leave it out\./,
  ],
  [{ activations: undefined, hessian: new Float32Array(63) }, /hessian has 63 .*cols \* cols = 64/],
  [{ sequences: 0 }, /sequences is 0, must be a whole number of at least 1/],
  [{ weight: GOOD.weight.map((w, i) => (i ? w : Number.NaN)) }, /weight holds 1 values.*NaN/],
  [{ weight: GOOD.weight.map((w) => w / 0) }, /weight holds 16 values that are NaN or infinite/],
  [
    { activations: GOOD.activations.map((x) => x / 0) },
    /activations hold 40 values that are NaN or/,
  ],
  [
    { activations: GOOD.activations.map((x) => x * 1e30) },
    /inputs hold NaN, infinity or values too/,
  ],
  [{ activations: undefined, hessian: new Float32Array(64).fill(Number.NaN) }, /hessian holds NaN/],
];

for (const [wrong, message] of BAD) {
  const what = JSON.stringify(wrong, (_, v) => (ArrayBuffer.isView(v) ? `an array` : v));
  test(`refuses ${what}, ${message.source.slice(0, 40)}`, async () => {
    await refused(() => pruneLinear({ ...GOOD, ...wrong }), message);
  });
}

test("the problem that the refusals start from works, with every default", async () => {
  const own = await openBackend();
  const [{ mask }, named] = [
    await pruneLinear(GOOD),
    await pruneLinear({
      ...GOOD,
      method: "sparsegpt",
      sparsity: "2:4",
      sequences: 1,
      backend: own,
    }),
  ];
  assert.equal([...mask], [...named.mask]);
  own.dispose();
});

test.run();
