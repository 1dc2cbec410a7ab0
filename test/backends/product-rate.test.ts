import { suite } from "uvu";
import * as assert from "uvu/assert";
import { productRate } from "../../src/backends/product-rate.js";
import { openReference } from "../../src/backends/reference.js";
import { openWasm } from "../../src/backends/wasm.js";
import { note, skipUnless } from "../shared.js";
import { hasWebGpu, NO_WEBGPU, openSharedGpu } from "../webgpu/adapter.js";

const test = suite("backends/product-rate");

/** Multiply-adds per second of one product, measured here. */
async function ownRate(n: number): Promise<number> {
  using backend = await openWasm({ threads: 1 });
  const [a, b, out] = [1, 2, 3].map(() => backend.zeros([n, n]));
  let best = 0;
  for (let i = 0; i < 30; i++) {
    const start = performance.now();
    backend.ops.gemm(a, b, out, { transposeB: true });
    best = Math.max(best, n ** 3 / ((performance.now() - start) / 1000));
  }
  return best;
}

test("wasm's rate is that of its products, in multiply-adds per second", async () => {
  using backend = await openWasm({ threads: 1 });
  const rate = (await productRate(backend, { milliseconds: 300, size: 512 }))!;
  const own = await ownRate(512);
  note(`wasm, 1 thread: ${(2 * rate) / 1e9} GFLOP/s, ${(2 * own) / 1e9} by the fastest product`);
  // Other work on the machine may slow either; a wrong unit is further off.
  assert.ok(rate > own / 20 && rate < own * 5, `${rate} is not about ${own}`);
  assert.is(backend.memory().live, 0);
});

test("the reference is slower, and measured in bearable time", async () => {
  const reference = await openReference();
  using wasm = await openWasm({ threads: 1 });
  const options = { milliseconds: 100, size: 192 };
  const slow = (await productRate(reference, options))!;
  assert.ok(slow > 1e6 && slow < (await productRate(wasm, options))!, `${slow}`);
  assert.is(reference.memory().live, 0);
});

test("a signal ends it, and what it took is given back", async () => {
  using backend = await openWasm({ threads: 1 });
  const control = new AbortController();
  const reason = new Error("enough");
  setTimeout(() => control.abort(reason), 50);
  const start = performance.now();
  try {
    await productRate(backend, { milliseconds: 60_000, signal: control.signal });
    assert.unreachable();
  } catch (error) {
    assert.is(error, reason);
  }
  assert.ok(performance.now() - start < 10_000);
  assert.is(backend.memory().live, 0);
});

test("undefined where the clock stands still while something is computed", async () => {
  using backend = await openWasm({ threads: 1 });
  const { now } = performance;
  performance.now = () => 5;
  try {
    assert.is(await productRate(backend, { size: 64 }), undefined);
  } finally {
    performance.now = now;
  }
});

skipUnless(
  test,
  hasWebGpu,
  NO_WEBGPU,
  "WebGPU's rate counts what was computed, not queued",
  async () => {
    const backend = await openSharedGpu();
    const rate = await productRate(backend, { milliseconds: 300, size: 256 });
    note(`WebGPU: ${(2 * rate!) / 1e9} GFLOP/s`);
    // Queued alone, a product would take microseconds: more than any GPU computes.
    assert.ok(rate! > 1e6 && rate! < 1e15, `${rate}`);
  },
);

test.run();
