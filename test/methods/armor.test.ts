import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openReference } from "../../src/backends/reference.js";
import { openWasm } from "../../src/backends/wasm.js";
import { factorValues } from "../../src/factors/blocks.js";
import type { armor } from "../../src/methods/armor.js";
import type { OptionsOf } from "../../src/options.js";
import { parseSparsity } from "../../src/sparsity.js";
import { memoryKeeper } from "../keeper.js";
import { hasWebGpu, openSharedGpu } from "../webgpu/adapter.js";
import {
  assertCancels,
  assertStops,
  assertTwoFour,
  type Layer,
  layerOf,
  near,
  type Pruned,
  prune,
} from "./armor-layer.js";

const test = suite("armor method");

const OPENERS = [openReference, openWasm, ...(hasWebGpu ? [openSharedGpu] : [])];

/** f of a dense Ŵ, from the definition, in float64; dead inputs count with the mean of the others. */
function proxyOf({ rows, cols, weight, squares }: Layer, dense: Float32Array): number {
  const alive = squares.filter((square) => square > 0);
  const mean = alive.length > 0 ? alive.reduce((sum, s) => sum + s, 0) / alive.length : 1;
  const columns = new Float64Array(cols);
  weight.forEach((w, i) => {
    columns[i % cols] += w * w;
  });
  const rowSquares = new Float64Array(rows);
  weight.forEach((w, i) => {
    const square = columns[i % cols];
    if (square > 0) rowSquares[Math.floor(i / cols)] += (w * w) / square;
  });
  let [lost, whole] = [0, 0];
  weight.forEach((w, i) => {
    const scale = columns[i % cols] * rowSquares[Math.floor(i / cols)];
    const share = scale > 0 ? (squares[i % cols] || mean) / scale : 0;
    lost += share * (dense[i] - w) ** 2;
    whole += share * w * w;
  });
  return whole > 0 ? lost / whole : 0;
}

/** Checks what holds of every result. */
function assertSound(layer: Layer, { outcome, core, mask, left, right, dense }: Pruned): void {
  const { figures } = outcome;
  assert.ok(figures.proxyAfter <= figures.proxyBefore);
  near(figures.proxyAfter, proxyOf(layer, dense), 1e-3, "proxyAfter");
  for (const values of [core, left, right, dense]) assert.ok(values.every(Number.isFinite));
  assertTwoFour(core, mask);
  assert.is(left.length, layer.rows * figures.blockRows);
  assert.is(right.length, layer.cols * figures.blockCols);
  assert.is(figures.extraValues, left.length + right.length);
}

for (const open of OPENERS) {
  test(`${open.name}: lowers the proxy of NoWag-P, whose pruning it starts from`, async () => {
    const backend = await open();
    const layer = layerOf(32, 64);
    const start = await prune(backend, layer, { blockSize: 16, iterations: 0 });
    assertSound(layer, start);
    const { figures, curve } = start.outcome;
    assert.equal(figures.proxyAfter, figures.proxyBefore);
    assert.equal(curve, [[0, figures.proxyBefore]]);
    // Without iterations A and B are the norms alone, so A S B is the weight where it is kept.
    layer.weight.forEach((w, i) => {
      near(start.dense[i], start.mask[i] === 1 ? w : 0, 1e-5, `weight ${i}`);
    });
    const after = await prune(backend, layer, {
      blockSize: 16,
      iterations: 150,
      learningRate: 1e-3,
    });
    assertSound(layer, after);
    assert.is(after.outcome.figures.iterations, 150);
    assert.is(after.outcome.figures.proxyBefore, figures.proxyBefore);
    assert.ok(after.outcome.figures.proxyAfter < 0.7 * figures.proxyBefore);
    const points = after.outcome.curve!;
    assert.is(points.length, 100);
    assert.equal([points[0], points[99][0]], [[0, figures.proxyBefore], 150]);
    backend.dispose();
  });
}

test("both backends come to the same", async () => {
  const layer = layerOf(32, 64);
  const options = { blockSize: 16, iterations: 200, learningRate: 1e-3 };
  const proxies: number[] = [];
  for (const open of [openReference, openWasm]) {
    const backend = await open();
    proxies.push((await prune(backend, layer, options)).outcome.figures.proxyAfter);
    backend.dispose();
  }
  near(proxies[1], proxies[0], 0.05, "wasm's proxy");
});

test("a seed fixes every bit, another one changes the result", async () => {
  const backend = await openWasm();
  const layer = layerOf(64, 64);
  const options = { blockSize: 16, iterations: 100, learningRate: 1e-3 };
  const [one, same] = [await prune(backend, layer, options), await prune(backend, layer, options)];
  assert.equal(same.core, one.core);
  assert.equal(same.left, one.left);
  assert.equal(same.outcome.curve, one.outcome.curve);
  const other = await prune(backend, layer, options, { seed: 7 });
  assert.is(other.core.join() === one.core.join(), false);
  backend.dispose();
});

test("an optimisation that was stopped goes on to the same bytes", async () => {
  const layer = layerOf(32, 48);
  const options = { blockSize: 16, iterations: 60, learningRate: 1e-3, patience: 20 };
  for (const open of OPENERS) {
    const backend = await open();
    const straight = await prune(backend, layer, options, { seed: 3 });
    const keeper = memoryKeeper((count) => {
      if (count === 2) throw new Error("stopped");
    });
    await assertStops(prune(backend, layer, options, { seed: 3, keeper }), "stopped");
    const done = ((await keeper.load())!.facts.curve as number[]).length - 1;
    assert.ok(done > 0 && done < 60, String(done));
    const resumed = await prune(backend, layer, options, { seed: 3, keeper });
    for (const part of ["core", "mask", "left", "right"] as const) {
      assert.equal(resumed[part], straight[part], `${backend.name}: ${part}`);
    }
    assert.equal(resumed.outcome.curve, straight.outcome.curve);
    backend.dispose();
  }
});

test("a state that another backend kept is left alone", async () => {
  const layer = layerOf(32, 32);
  const options = { blockSize: 16, iterations: 20, learningRate: 1e-3 };
  const keeper = memoryKeeper();
  const [reference, wasm] = [await openReference(), await openWasm()];
  const straight = await prune(wasm, layer, options, { seed: 3 });
  await prune(reference, layer, options, { seed: 3, keeper });
  assert.is((await keeper.load())!.facts.backend, "reference");
  const anew = await prune(wasm, layer, options, { seed: 3, keeper });
  assert.equal(anew.core, straight.core);
  assert.equal(anew.outcome.curve, straight.outcome.curve);
  reference.dispose();
  wasm.dispose();
});

test("its time is kept to, and told", async () => {
  const backend = await openWasm();
  const options = { iterations: 1e6, patience: 1e6 };
  const start = performance.now();
  const { outcome } = await prune(backend, layerOf(64, 64), options, { seconds: 0.5 });
  assert.ok(performance.now() - start < 5000);
  assert.match(outcome.notes[0], /time of 0\.5 s was spent after \d+ of 1000000 iterations/);
  assert.ok(outcome.figures.iterations >= 1);
  backend.dispose();
});

test("the result does not keep memory", async () => {
  const backend = await openWasm();
  const layer = layerOf(32, 32);
  const before = backend.memory().live;
  await prune(backend, layer, { iterations: 5 });
  assert.is(backend.memory().live, before);
  const signal = AbortSignal.abort(new Error("enough"));
  await assertStops(prune(backend, layer, {}, { signal }), "enough");
  assert.is(backend.memory().live, before);
  backend.dispose();
});

test("cancelling is honoured, and timers run meanwhile", async () => {
  const backend = await openWasm();
  const layer = layerOf(512, 512);
  await assertCancels((more) => prune(backend, layer, { iterations: 1e5 }, more), 3);
  backend.dispose();
});

test("a block size that does not divide the layer falls to one that does, and says so", async () => {
  const backend = await openWasm();
  const sizes = async (rows: number, cols: number, blockSize: number) => {
    const layer = layerOf(rows, cols);
    const pruned = await prune(backend, layer, { blockSize, iterations: 20, learningRate: 1e-3 });
    assertSound(layer, pruned);
    const { figures, notes } = pruned.outcome;
    return [figures.blockRows, figures.blockCols, ...notes];
  };
  assert.equal(await sizes(172, 64, 32), [
    4,
    32,
    "blocks of 32 do not divide 172 rows; those of A are 4",
  ]);
  assert.equal(await sizes(64, 172, 64), [
    64,
    4,
    "blocks of 64 do not divide 172 columns; those of B are 4",
  ]);
  assert.equal((await sizes(31, 36, 16)).slice(0, 2), [1, 12]);
  assert.equal((await sizes(43, 40, 50)).slice(0, 2), [43, 40]);
  assert.equal(await sizes(64, 64, 4), [4, 4]);
  backend.dispose();
});

test("the default block size keeps A and B at a sixteenth of the weights", async () => {
  const backend = await openWasm();
  const chosen = async (rows: number, cols: number) => {
    const { figures } = (await prune(backend, layerOf(rows, cols), { iterations: 0 })).outcome;
    assert.ok(figures.blockRows === 4 || figures.extraValues <= (rows * cols) / 16);
    return figures.blockRows;
  };
  assert.is(await chosen(64, 64), 4);
  assert.is(await chosen(256, 256), 8);
  assert.is(await chosen(512, 1024), 16);
  assert.is(await chosen(1024, 1024), 32);
  backend.dispose();
});

test("dead inputs, rows and columns of zeros, and a layer of nothing else", async () => {
  const backend = await openWasm();
  const options = { blockSize: 8, iterations: 60, learningRate: 1e-3 };
  const layer = layerOf(24, 32);
  for (const j of [0, 1, 2, 3, 9, 31]) layer.squares[j] = 0;
  assertSound(layer, await prune(backend, layer, options));
  for (let i = 0; i < layer.weight.length; i++) {
    if (i % 32 === 5 || Math.floor(i / 32) === 7) layer.weight[i] = 0;
  }
  const pruned = await prune(backend, layer, options);
  assertSound(layer, pruned);
  const stays = (_: number, i: number) => i % 32 === 5 || Math.floor(i / 32) === 7;
  assert.ok(pruned.dense.filter(stays).every((w) => w === 0));
  layer.squares.fill(0);
  assertSound(layer, await prune(backend, layer, options));
  layer.weight.fill(0);
  const nothing = await prune(backend, layer, options);
  assert.ok(nothing.dense.every((w) => w === 0));
  assert.equal([nothing.outcome.figures.proxyAfter, nothing.outcome.figures.iterations], [0, 0]);
  backend.dispose();
});

test("a proxy that diverges is stopped, and the best iterate kept", async () => {
  const backend = await openWasm();
  const layer = layerOf(32, 32);
  const pruned = await prune(backend, layer, { learningRate: 1, iterations: 500 });
  assertSound(layer, pruned);
  assert.is(pruned.outcome.figures.iterations, 16);
  assert.match(pruned.outcome.notes[0], /^the proxy rose from .* a smaller learningRate than 1/);
  backend.dispose();
});

test("patience ends what no longer gets better", async () => {
  const backend = await openWasm();
  const options = { blockSize: 4, iterations: 5000, patience: 32, learningRate: 0 };
  const { figures } = (await prune(backend, layerOf(8, 8), options)).outcome;
  assert.ok(figures.iterations < 400 && figures.iterations % 16 === 0, String(figures.iterations));
  backend.dispose();
});

test("refuses other patterns and block sizes below 4", async () => {
  const backend = await openWasm();
  const refusal = async (options: Partial<OptionsOf<typeof armor.options>>, sparsity: string) => {
    const more = { sparsity: parseSparsity(sparsity) };
    return prune(backend, layerOf(8, 16), options, more).then(
      () => "",
      (error) => error.message as string,
    );
  };
  for (const sparsity of ["50%", "4:8", "1:4"]) {
    assert.match(await refusal({}, sparsity), `[layer] armor cannot prune to ${sparsity}`);
  }
  assert.match(await refusal({ blockSize: 3 }, "2:4"), "blockSize is 3, must be 0 or 4 to 128");
  backend.dispose();
});

test("A (S (B x)) is the product with what decode gives", async () => {
  const backend = await openWasm();
  const layer = layerOf(36, 40);
  const { core, left, right, dense } = await prune(backend, layer, {
    blockSize: 12,
    iterations: 30,
    learningRate: 1e-3,
  });
  const { ops } = backend;
  const [tokens, rows, cols] = [5, layer.rows, layer.cols];
  const x = backend.upload(layerOf(tokens, cols, 2).weight, [tokens, cols]);
  const [inner, middle] = [backend.zeros([tokens, cols]), backend.zeros([tokens, rows])];
  const [out, expected] = [backend.zeros([tokens, rows]), backend.zeros([tokens, rows])];
  const factors = {
    left: backend.upload(left, [3, 12, 12]),
    right: backend.upload(right, [5, 8, 8]),
  };
  assert.is(factorValues(factors), 36 * 12 + 40 * 8);
  ops.blockDiagonal(x, factors.right, inner);
  ops.multiply(inner, backend.upload(core, [rows, cols]), middle);
  ops.blockDiagonal(middle, factors.left, out);
  ops.multiply(x, backend.upload(dense, [rows, cols]), expected);
  const [actual, wanted] = [await backend.read(out), await backend.read(expected)];
  const size = Math.max(...wanted.map(Math.abs));
  actual.forEach((y, i) => {
    assert.ok(Math.abs(y - wanted[i]) <= 1e-5 * size, `${i}: ${y}, not ${wanted[i]}`);
  });
  backend.dispose();
});

test("property: sound for any shape, block, rate and seed", async () => {
  const backend = await openWasm();
  const shapes = fc.record({
    rows: fc.integer({ min: 1, max: 40 }),
    groups: fc.integer({ min: 1, max: 12 }),
    blockSize: fc.oneof(fc.constant(0), fc.integer({ min: 4, max: 48 })),
    iterations: fc.integer({ min: 0, max: 40 }),
    learningRate: fc.constantFrom(0, 1e-4, 1e-3, 0.05),
    seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  });
  const property = fc.asyncProperty(shapes, async ({ rows, groups, seed, ...options }) => {
    const layer = layerOf(rows, 4 * groups, seed);
    assertSound(layer, await prune(backend, layer, options, { seed }));
  });
  await fc.assert(property, { numRuns: 60 });
  backend.dispose();
});

test.run();
