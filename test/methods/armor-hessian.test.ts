import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openReference } from "../../src/backends/reference.js";
import { openWasm } from "../../src/backends/wasm.js";
import { decode } from "../../src/decode.js";
import { partsIn } from "../../src/form.js";
import { layerError } from "../../src/layer-error.js";
import type { LinearProblem } from "../../src/method.js";
import { armorHessian } from "../../src/methods/armor-hessian.js";
import { sparsegpt } from "../../src/methods/sparsegpt.js";
import { type OptionsOf, resolveOptions } from "../../src/options.js";
import { Random } from "../../src/random.js";
import { parseSparsity } from "../../src/sparsity.js";
import { goldenLayer } from "../golden.js";
import { memoryKeeper } from "../keeper.js";
import { note, sharedTest } from "../shared.js";
import { assertCancels, assertStops, assertTwoFour, near } from "./armor-layer.js";

const test = suite("armor-hessian");

interface Layer {
  readonly rows: number;
  readonly cols: number;
  readonly weight: Float32Array;
  /** [tokens, cols] */
  readonly inputs: Float32Array;
}

/** Inputs that lean on one another, a few far larger than the others, some dead on request. */
function layerOf(rows: number, cols: number, seed = 1, dead: readonly number[] = []): Layer {
  const random = new Random(seed);
  const normal = () => random.next() + random.next() + random.next() + random.next() - 2;
  const weight = Float32Array.from({ length: rows * cols }, normal);
  const tokens = 3 * cols;
  const inputs = Float32Array.from({ length: tokens * cols }, normal);
  for (let i = 0; i < inputs.length; i++) {
    const col = i % cols;
    if (col > 0) inputs[i] += 0.8 * inputs[i - 1];
    if (col % 16 === 3) inputs[i] *= 5;
    if (dead.includes(col)) inputs[i] = 0;
  }
  return { rows, cols, weight, inputs };
}

interface Pruned {
  readonly outcome: Awaited<ReturnType<typeof armorHessian.prune>>;
  readonly core: Float32Array;
  readonly mask: Uint8Array;
  /** A S B */
  readonly dense: Float32Array;
  readonly error: number;
  /** That of SparseGPT on the same layer. */
  readonly startError: number;
}

/** Prunes a layer, and by SparseGPT alone too; all that was made is disposed. */
async function prune(
  backend: Backend,
  { rows, cols, weight, inputs }: Layer,
  options: Partial<OptionsOf<typeof armorHessian.options>> = {},
  more: Partial<LinearProblem> = {},
): Promise<Pruned> {
  const tokens = inputs.length / cols;
  const x = backend.upload(inputs, [tokens, cols]);
  const hessian = backend.zeros([cols, cols]);
  backend.ops.accumulateHessian(x, hessian, 2);
  backend.ops.mirrorUpper(hessian);
  const original = backend.upload(weight, [rows, cols]);
  const made = [x, hessian, original];
  const problemOf = (): LinearProblem => {
    const copy = backend.upload(weight, [rows, cols]);
    made.push(copy);
    return {
      name: "layer",
      weight: copy,
      statistics: { sequences: 1, tokens, tensors: { hessian } },
      sparsity: parseSparsity("2:4"),
      backend,
      ...more,
    };
  };
  try {
    const problem = problemOf();
    const outcome = await armorHessian.prune(
      problem,
      resolveOptions(armorHessian.options, options, armorHessian.name),
    );
    const whole = await decode(backend, outcome.form!);
    made.push(outcome.mask, ...partsIn(outcome.form!), whole);
    const start = problemOf();
    const { mask } = await sparsegpt.prune(
      start,
      resolveOptions(sparsegpt.options, {}, sparsegpt.name),
    );
    made.push(mask);
    return {
      outcome,
      core: (await backend.read(problem.weight)) as Float32Array,
      mask: (await backend.read(outcome.mask)) as Uint8Array,
      dense: (await backend.read(whole)) as Float32Array,
      error: await layerError(backend, original, whole, hessian),
      startError: await layerError(backend, original, start.weight, hessian),
    };
  } finally {
    for (const tensor of made) tensor.dispose();
  }
}

/** Checks what holds of every result. */
function assertSound(layer: Layer, { outcome, core, mask, dense, error, startError }: Pruned) {
  assert.ok(
    error <= startError * (1 + 1e-6) + 1e-12,
    `${error} is above SparseGPT's ${startError}`,
  );
  near(outcome.figures.errorAfter, error, 1e-4, "errorAfter");
  near(outcome.figures.errorBefore, startError, 1e-4, "errorBefore");
  for (const values of [core, dense]) assert.ok(values.every(Number.isFinite));
  assertTwoFour(core, mask);
  const { blockRows, blockCols, extraValues } = outcome.figures;
  assert.is(extraValues, layer.rows * blockRows + layer.cols * blockCols);
}

for (const open of [openReference, openWasm]) {
  test(`${open.name}: the layer error falls far below SparseGPT's`, async () => {
    const backend = await open();
    const layer = layerOf(32, 64);
    const pruned = await prune(backend, layer, { blockSize: 8, rounds: 20 });
    assertSound(layer, pruned);
    assert.ok(pruned.error < 0.5 * pruned.startError, `${pruned.error} of ${pruned.startError}`);
    const curve = pruned.outcome.curve!;
    assert.is(curve.length, 21);
    near(curve[0][1], pruned.startError, 1e-3, "the curve's start");
    near(curve[20][1], pruned.error, 1e-3, "the curve's end");
    backend.dispose();
  });
}

test("more rounds and larger blocks come further", async () => {
  const backend = await openWasm();
  const layer = layerOf(64, 64);
  const errorOf = async (options: Partial<OptionsOf<typeof armorHessian.options>>) =>
    (await prune(backend, layer, options)).error;
  const few = await errorOf({ blockSize: 8, rounds: 3 });
  const many = await errorOf({ blockSize: 8, rounds: 40 });
  const large = await errorOf({ blockSize: 32, rounds: 40 });
  assert.ok(many < 0.9 * few, `${many} after 40 rounds, ${few} after 3`);
  assert.ok(large < 0.5 * many, `${large} with blocks of 32, ${many} with 8`);
  // A and B that are whole matrices make up for everything.
  assert.ok((await errorOf({ blockSize: 64, rounds: 40 })) < 0.05 * many);
  backend.dispose();
});

test("both backends come to the same, and twice the same bits", async () => {
  const layer = layerOf(24, 80);
  const options = { blockSize: 8, rounds: 10 };
  const errors: number[] = [];
  for (const open of [openReference, openWasm]) {
    const backend = await open();
    const [one, two] = [await prune(backend, layer, options), await prune(backend, layer, options)];
    assert.equal(two.core, one.core);
    assert.equal(two.dense, one.dense);
    errors.push(one.error);
    backend.dispose();
  }
  near(errors[1], errors[0], 0.02, "wasm's error");
});

for (const name of ["128x128", "128x128dead", "256x512", "512x256"]) {
  sharedTest(test, `${name}: never above SparseGPT's layer error`, async () => {
    const { rows, cols, weight, activations } = await goldenLayer(name);
    const backend = await openWasm();
    const layer = { rows, cols, weight, inputs: activations };
    const pruned = await prune(backend, layer, { blockSize: 32 });
    assertSound(layer, pruned);
    const share = pruned.error / pruned.startError;
    note(`armor-hessian ${name}, blocks of 32: ${share.toFixed(3)} of SparseGPT's layer error`);
    assert.ok(share < 0.6, `${share} of SparseGPT's`);
    backend.dispose();
  });
}

test("dead inputs, rows and columns of zeros, and a layer of nothing else", async () => {
  const backend = await openWasm();
  const options = { blockSize: 8, rounds: 12 };
  const dead = [0, 1, 2, 3, 9, 31];
  const layer = layerOf(24, 32, 1, dead);
  const one = await prune(backend, layer, options);
  assertSound(layer, one);
  assert.ok(one.error < one.startError);
  layer.weight.forEach((_, i) => {
    if (i % 32 === 5 || Math.floor(i / 32) === 7) layer.weight[i] = 0;
  });
  assertSound(layer, await prune(backend, layer, options));
  const asleep = { ...layer, inputs: layer.inputs.map(() => 0) };
  assertSound(asleep, await prune(backend, asleep, options));
  const nothing = { ...layer, weight: layer.weight.map(() => 0) };
  const pruned = await prune(backend, nothing, options);
  assert.ok(pruned.dense.every((w) => w === 0));
  assertSound(nothing, pruned);
  backend.dispose();
});

test("as few tokens as make the Hessian singular", async () => {
  const backend = await openWasm();
  const layer = layerOf(16, 64);
  const few = { ...layer, inputs: layer.inputs.slice(0, 5 * 64) };
  const pruned = await prune(backend, few, { blockSize: 8, rounds: 20 });
  assertSound(few, pruned);
  assert.ok(pruned.error < pruned.startError);
  backend.dispose();
});

test("odd sizes of blocks", async () => {
  const backend = await openWasm();
  const sizes = async (rows: number, cols: number, blockSize: number) => {
    const layer = layerOf(rows, cols);
    const pruned = await prune(backend, layer, { blockSize, rounds: 4 });
    assertSound(layer, pruned);
    return [pruned.outcome.figures.blockRows, pruned.outcome.figures.blockCols];
  };
  assert.equal(await sizes(172, 64, 32), [4, 32]);
  assert.equal(await sizes(31, 36, 16), [1, 12]);
  assert.equal(await sizes(43, 40, 50), [43, 40]);
  assert.equal(await sizes(1, 4, 4), [1, 4]);
  backend.dispose();
});

test("the result does not keep memory, nor does a cancelled one", async () => {
  const backend = await openWasm();
  const layer = layerOf(32, 32);
  const before = backend.memory().live;
  await prune(backend, layer, { rounds: 3 });
  assert.is(backend.memory().live, before);
  const controller = new AbortController();
  const onProgress = () => controller.abort(new Error("enough"));
  const more = { signal: controller.signal, onProgress };
  await assertStops(prune(backend, layerOf(256, 256), { rounds: 1000 }, more), "enough");
  assert.is(backend.memory().live, before);
  backend.dispose();
});

test("cancelling is honoured, and timers run meanwhile", async () => {
  const backend = await openWasm();
  const layer = layerOf(512, 512);
  await assertCancels((more) => prune(backend, layer, { rounds: 1000 }, more), 2);
  backend.dispose();
});

test("its time ends it, with a note", async () => {
  const backend = await openWasm();
  const layer = layerOf(64, 64);
  const pruned = await prune(backend, layer, { rounds: 100_000 }, { seconds: 0.2 });
  assertSound(layer, pruned);
  assert.ok(pruned.outcome.figures.rounds >= 1 && pruned.outcome.figures.rounds < 100_000);
  assert.match(pruned.outcome.notes.join(), /its time of 0\.2 s was spent after \d+ of 100000/);
  backend.dispose();
});

test("taken up where it was kept, it ends in the same bits", async () => {
  const backend = await openWasm();
  const layer = layerOf(32, 64);
  const options = { blockSize: 8, rounds: 12 };
  const whole = await prune(backend, layer, options);
  const controller = new AbortController();
  const keeper = memoryKeeper((count) => {
    if (count === 5) controller.abort(new Error("enough"));
  });
  const { signal } = controller;
  await assertStops(prune(backend, layer, options, { keeper, signal }), "enough");
  const resumed = await prune(backend, layer, options, { keeper });
  assert.equal(resumed.core, whole.core);
  assert.equal(resumed.dense, whole.dense);
  assert.equal(resumed.outcome.curve, whole.outcome.curve);
  backend.dispose();
});

test("refuses other patterns and block sizes below 4", async () => {
  const backend = await openWasm();
  const refusal = async (
    options: Partial<OptionsOf<typeof armorHessian.options>>,
    sparsity: string,
  ) =>
    prune(backend, layerOf(8, 16), options, { sparsity: parseSparsity(sparsity) }).then(
      () => "",
      (error) => error.message as string,
    );
  assert.match(await refusal({}, "50%"), "[layer] armor-hessian cannot prune to 50%");
  assert.match(await refusal({ blockSize: 3 }, "2:4"), "blockSize is 3, must be 0 or 4 to 128");
  backend.dispose();
});

test("property: sound for any shape, block and seed", async () => {
  const backend = await openWasm();
  const shapes = fc.record({
    rows: fc.integer({ min: 1, max: 40 }),
    groups: fc.integer({ min: 1, max: 12 }),
    blockSize: fc.oneof(fc.constant(0), fc.integer({ min: 4, max: 48 })),
    rounds: fc.integer({ min: 1, max: 8 }),
    damping: fc.constantFrom(1e-6, 0.01, 1, 100),
    seed: fc.integer({ min: 0, max: 2 ** 31 }),
    dead: fc.array(fc.nat(47), { maxLength: 6 }),
  });
  const property = fc.asyncProperty(shapes, async ({ rows, groups, seed, dead, ...options }) => {
    const layer = layerOf(rows, 4 * groups, seed, dead);
    assertSound(layer, await prune(backend, layer, options));
  });
  await fc.assert(property, { numRuns: 60 });
  backend.dispose();
});

test.run();
