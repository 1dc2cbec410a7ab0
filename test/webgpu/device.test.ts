import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shaders } from "#shaders";
import type { Backend } from "../../src/backend.js";
import { openReference } from "../../src/backends/reference.js";
import { openDevice } from "../../src/backends/webgpu/device.js";
import { Pipelines } from "../../src/backends/webgpu/pipelines.js";
import { selfTest } from "../../src/backends/webgpu/self-test.js";
import { Stream } from "../../src/backends/webgpu/stream.js";
import { openWebGpu } from "../../src/backends/webgpu.js";
import { randomValues } from "../backends/operands.js";
import { refused } from "../checkpoint/crafted.js";
import { skipUnless } from "../shared.js";
import { findTestGpu, hasWebGpu, NO_WEBGPU, openTestGpu, openWithoutSubgroups } from "./adapter.js";

const test = suite("webgpu/device");

function gpuTest(name: string, run: () => Promise<void>): void {
  skipUnless(test, hasWebGpu, NO_WEBGPU, name, run);
}

/** Results of the operations that sum over a workgroup. */
async function reductions(backend: Backend, seeds: readonly Float32Array[]): Promise<number[]> {
  const { ops } = backend;
  const [x, w, gain] = seeds;
  const rows = backend.upload(x, [3, 96]);
  const results = [
    backend.zeros([3, 96]),
    backend.zeros([3, 96]),
    backend.zeros([3, 5]),
    backend.zeros([3, 96]),
    backend.zeros([3]),
  ];
  ops.rmsNorm(rows, backend.upload(gain, [96]), results[0], 1e-5);
  ops.softmax(rows, results[1], 0.5);
  ops.multiply(rows, backend.upload(w, [5, 96]), results[2]);
  ops.attention(rows, rows, rows, results[3], { heads: 3, kvHeads: 3, headDim: 32 });
  ops.rowSquares(rows, results[4], backend.upload(gain, [96]));
  const all = await Promise.all(results.map((tensor) => backend.read(tensor)));
  return all.flatMap((part) => [...part]);
}

gpuTest("reductions agree with and without subgroups", async () => {
  const seeds = [randomValues(3 * 96), randomValues(5 * 96), randomValues(96)];
  const [having, lacking] = [await openTestGpu(), await openWithoutSubgroups()];
  const [expected, actual] = [await reductions(having, seeds), await reductions(lacking, seeds)];
  assert.is(actual.length, 3 * 96 * 3 + 15 + 3);
  actual.forEach((value, i) => {
    assert.ok(Math.abs(value - expected[i]) < 1e-5, `${i}: ${value} ${expected[i]}`);
  });
  assert.ok(actual.some((value) => value !== 0));
  having.dispose();
  lacking.dispose();
});

gpuTest("shaders, writes, copies and reads keep the order of calls", async () => {
  const backend = await openTestGpu();
  const { ops } = backend;
  const start = backend.upload(Float32Array.of(1, 2, 3, 4), [1, 4]);
  const kept = backend.upload(Uint8Array.of(0, 1, 1, 0), [1, 4]);
  const a = backend.zeros([1, 4]);
  const other = backend.upload(Float32Array.of(10, 10, 10, 10), [1, 4]);
  backend.copy(start, a);
  ops.applyMask(a, kept); // 0 2 3 0
  ops.add(a, other); // 10 12 13 10
  const before = backend.read(a);
  const data = Float32Array.of(1, 1, 1, 1);
  backend.write(other, data);
  data.fill(99);
  backend.copy(start, a); // 1 2 3 4
  ops.add(a, other); // 2 3 4 5
  other.dispose();
  backend.zeros([2, 2]);
  const after = backend.read(a);
  backend.write(a, Float32Array.of(0, 0, 0, 0));
  assert.equal([...(await before)], [10, 12, 13, 10]);
  assert.equal([...(await after)], [2, 3, 4, 5]);
  assert.equal([...(await backend.read(a))], [0, 0, 0, 0]);
  const transfers = backend.served().filter(({ copiedBytes }) => copiedBytes !== undefined);
  assert.equal(transfers, [
    { operation: "upload", servedBy: "webgpu", calls: 5, copiedBytes: 68 },
    { operation: "read", servedBy: "webgpu", calls: 3, copiedBytes: 48 },
  ]);
  const add = backend.served().find(({ operation }) => operation === "add");
  assert.equal(add, { operation: "add", servedBy: "webgpu", calls: 2 });
  backend.dispose();
});

gpuTest("every operation of the reference is there", async () => {
  const backend = await openTestGpu();
  const expected = Object.keys((await openReference()).ops).sort();
  assert.equal(Object.keys(backend.ops).sort(), expected);
  backend.dispose();
});

gpuTest("bytes at odd places are written, copied and read without touching others", async () => {
  const backend = await openTestGpu();
  const parent = backend.upload(
    Uint8Array.from({ length: 21 }, (_, i) => i),
    [7, 3],
  );
  backend.write(backend.rows(parent, 1, 1), Uint8Array.of(101, 102, 103));
  backend.copy(backend.rows(parent, 1, 2), backend.rows(parent, 4, 2));
  assert.equal(
    [...(await backend.read(parent))],
    [0, 1, 2, 101, 102, 103, 6, 7, 8, 9, 10, 11, 101, 102, 103, 6, 7, 8, 18, 19, 20],
  );
  assert.equal([...(await backend.read(backend.rows(parent, 3, 1)))], [9, 10, 11]);
  backend.dispose();
});

gpuTest("memory counts live tensors, and a disposed one is refused", async () => {
  const backend = await openTestGpu();
  const tensor = backend.zeros([10, 10]);
  const view = backend.rows(tensor, 2, 2);
  assert.is(backend.memory().live, 400);
  tensor.dispose();
  tensor.dispose();
  assert.equal(backend.memory(), { live: 0, peak: 400 });
  await refused(() => backend.read(tensor), /was disposed/);
  await refused(() => backend.read(view), /was disposed/);
  const again = backend.zeros([10, 10]);
  assert.ok((await backend.read(again)).every((value) => value === 0));
  backend.dispose();
});

gpuTest("a lost device is named, and the next backend gets a new one", async () => {
  const device = await openDevice(findTestGpu());
  const stream = new Stream(device, new Pipelines(device));
  const tensor = stream.allocate([4]);
  device.device.destroy();
  await device.device.lost;
  await refused(() => stream.read(tensor), /the device .* was lost/);
  assert.is((await (await openTestGpu()).read((await openTestGpu()).zeros([2]))).length, 2);
});

gpuTest("a shader that does not compile is named, with its line and the adapter", async () => {
  const gpu = await openDevice(findTestGpu());
  const stream = new Stream(gpu, new Pipelines(gpu));
  const tensor = stream.allocate([4]);
  const bindings = [
    "@group(0) @binding(0) var<uniform> p: vec4u;",
    "@group(0) @binding(1) var<storage, read_write> x: array<f32>;",
  ];
  const table = shaders as Record<string, string>;
  table.broken = [...bindings, "@compute @workgroup_size(1)", "fn main() { x[0] = y; }"].join("\n");
  try {
    stream.dispatch({ shader: "broken", operands: [tensor], parameters: [], groups: [1] });
    const { message } = await refused(
      () => stream.read(tensor),
      /^\[webgpu\] .+ cannot compile shader broken, line 4 \(.*y.*\); use `backe/,
    );
    assert.ok(message.includes(gpu.adapterName) && !message.includes("\n"), message);
  } finally {
    delete table.broken;
    stream.dispose();
    gpu.device.destroy();
  }
});

gpuTest("a device out of memory is one sentence with a cure", async () => {
  const gpu = await openDevice(findTestGpu());
  const stream = new Stream(gpu, new Pipelines(gpu));
  const tensor = stream.allocate([4]);
  // The event that a device sends; using up the memory of the machine would end the tests.
  class GPUOutOfMemoryError {
    readonly message = "vkAllocateMemory failed\n at somewhere";
  }
  const event = Object.assign(new Event("uncapturederror"), { error: new GPUOutOfMemoryError() });
  gpu.device.dispatchEvent(event);
  await refused(
    () => stream.read(tensor),
    /has no memory left \(vkAllocateMemory failed\); use shorter samples or windows/,
  );
  assert.is((await stream.read(tensor)).length, 4, "it is said once");
  stream.dispose();
  gpu.device.destroy();
});

gpuTest("using frees tensors and backends", async () => {
  let kept: Backend;
  {
    using backend = await openTestGpu();
    kept = backend;
    {
      using tensor = backend.zeros([8, 8]);
      assert.is(backend.memory().live, tensor.size * 4);
    }
    assert.is(backend.memory().live, 0);
  }
  const { zeros, read } = kept;
  const after = async () => read.call(kept, zeros.call(kept, [2]));
  await refused(after, /the backend was disposed/);
});

gpuTest("a tensor beyond the device's limits is refused with the limit", async () => {
  const backend = await openTestGpu();
  await refused(
    async () => backend.zeros([2 ** 20, 2 ** 20]),
    /4398046511104 bytes exceeds the \d+ bytes/,
  );
  backend.dispose();
});

gpuTest("a backend that computes wrong fails the self-test", async () => {
  const backend = await openTestGpu();
  await selfTest(backend, "honest");
  const lying = Object.create(backend, {
    read: { value: async (tensor: never) => (await backend.read(tensor)).fill(1) },
  });
  await refused(() => selfTest(lying, "liar"), /liar computes a small dense product wrong/);
  backend.dispose();
});

test("no adapter is one sentence with a cure", async () => {
  const gpu = { requestAdapter: async () => null } as unknown as GPU;
  await refused(
    () => openWebGpu({ gpu }),
    /^\[webgpu\] there is no GPU adapter; use `backend: wasm`/,
  );
});

test.run();
