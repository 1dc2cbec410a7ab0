// The pool of threads by itself: its ring of tasks, errors, memory that grows, rest.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { kernelModule } from "../../src/backends/wasm/module.js";
import { ThreadPool } from "../../src/backends/wasm/pool.js";
import { loadThreading } from "../../src/platform/node-modules.js";
import { note } from "../shared.js";
import { randomValues } from "./operands.js";

const test = suite("backends/pool");
const THREADS = 3;

async function pool(): Promise<ThreadPool> {
  const threading = await loadThreading();
  const module = await kernelModule("baseline", true);
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 128, shared: true });
  const env = { memory, abort: () => {} };
  const instance = await WebAssembly.instantiate(module, { env });
  return new ThreadPool(module, memory, instance, THREADS, threading!.start, []);
}

/** Calls until all threads take part. */
async function allRunning(threads: ThreadPool): Promise<void> {
  while (threads.running < THREADS) {
    threads.run(
      "choleskyReverse",
      [
        [4, 2 ** 20],
        [4, 2 ** 20],
      ],
      0,
    );
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("every thread takes part, over memory that has grown since it started", async () => {
  const threads = await pool();
  await allRunning(threads);
  assert.is(threads.running, THREADS);
  const { memory } = threads as unknown as { memory: WebAssembly.Memory };
  const end = memory.buffer.byteLength;
  memory.grow(64);
  const floats = new Float32Array(memory.buffer, end, 2 ** 20);
  floats.forEach((_, i) => {
    floats[i] = i;
  });
  const part = 2 ** 14;
  threads.run(
    "choleskyReverse",
    Array.from({ length: 64 }, (_, i) => [part, end + 4 * i * part]),
    0,
  );
  for (let i = 0; i < floats.length; i += 997) {
    const start = Math.floor(i / part) * part;
    assert.is(floats[i], start + part - 1 - (i - start));
  }
  threads.dispose();
});

test("what a kernel throws in a thread reaches the caller, and the pool goes on", async () => {
  const threads = await pool();
  await allRunning(threads);
  const good = [4, 2 ** 20];
  const bad = [2 ** 20, 0xff000000];
  for (let round = 0; round < 20; round++) {
    const calls = Array.from({ length: 30 }, (_, i) => (i % 10 === round % 10 ? bad : good));
    let thrown: unknown;
    try {
      threads.run("choleskyReverse", calls, 0);
    } catch (error) {
      thrown = error;
    }
    assert.match(String(thrown), /\[wasm\] the kernel choleskyReverse failed .*out of bounds/i);
    assert.instance((thrown as Error).cause, Error);
    threads.run("choleskyReverse", [good, good], 0);
  }
  threads.dispose();
});

test("what is queued runs in its order, however much it is, and is done when it is looked at", async () => {
  const threads = await pool();
  await allRunning(threads);
  const { memory } = threads as unknown as { memory: WebAssembly.Memory };
  const [at, size, parts] = [2 ** 20, 60, 8];
  const floats = new Float32Array(memory.buffer, at, size * parts);
  const given = randomValues(floats.length);
  floats.set(given);
  const whole = [[floats.length, at]];
  const cut = Array.from({ length: parts }, (_, i) => [size, at + 4 * size * i]);
  const expected = given.slice();
  // More calls than the ring has tasks, each of which undoes nothing unless all before it are done.
  for (let round = 0; round < 200; round++) {
    threads.queue("choleskyReverse", whole, 0);
    expected.reverse();
    threads.queue("choleskyReverse", cut, 0);
    for (let i = 0; i < parts; i++) expected.subarray(size * i, size * (i + 1)).reverse();
    if (round % 3 === 0) {
      threads.queue("choleskyReverse", [[7, at]], 0);
      expected.subarray(0, 7).reverse();
    }
  }
  assert.ok(threads.isBusy);
  threads.settle();
  assert.not(threads.isBusy);
  assert.equal(floats.slice(), expected);
  threads.queue("choleskyReverse", [[2 ** 20, 0xff000000]], 0);
  assert.throws(() => threads.settle(), /the kernel choleskyReverse failed .*out of bounds/i);
  threads.run("choleskyReverse", cut, 0);
  threads.dispose();
});

test("what is queued when the pool is disposed is done, and nothing waits for it for ever", async () => {
  for (let round = 0; round < 20; round++) {
    const threads = await pool();
    await allRunning(threads);
    for (let i = 0; i < 50; i++) threads.queue("choleskyReverse", [[5000, 2 ** 20]], 0);
    threads.dispose();
    assert.not(threads.isBusy);
    threads.settle();
    // What comes all the same is done without them.
    threads.run("choleskyReverse", [[60, 2 ** 20]], 0);
    assert.is((threads as unknown as { threads: unknown[] }).threads.length, 0);
  }
});

test("threads use no time while there is nothing to do", async () => {
  const threads = await pool();
  await allRunning(threads);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { user, system } = process.cpuUsage(before);
  const share = (user + system) / 1000 / 500;
  note(`resting threads took ${(100 * share).toFixed(1)}% of one core`);
  assert.ok(share < 0.1, `${share}`);
  threads.dispose();
});

test.run();
