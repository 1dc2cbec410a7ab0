import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HeapStorage, WasmStorage } from "../../src/backends/memory.js";

const test = suite("memory");

test("what is allocated is zero, wherever it lies of used and unused memory", () => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const storage = new WasmStorage(memory, 1024);
  const bytes = (address: number, length: number) => new Uint8Array(memory.buffer, address, length);
  const take = (length: number) => {
    const address = storage.allocate(length);
    assert.ok(
      bytes(address, length).every((byte) => byte === 0),
      `${length} bytes at ${address}`,
    );
    bytes(address, length).fill(7);
    return address;
  };
  const first = take(100);
  const scratch = storage.reserve(200_000);
  bytes(scratch, 200_000).fill(9);
  const last = take(65);
  storage.free(scratch, 200_000);
  // Inside of what scratch had, then a free tail that grows beyond all that was used.
  assert.is(take(500), scratch);
  storage.free(last, 65);
  assert.ok(take(300_000) < last);
  storage.free(first, 100);
  assert.is(take(64), first);
  take(1_000_000);
});

test("on the heap an address within a piece finds that piece, until it is freed", () => {
  const storage = new HeapStorage();
  const sizes = Array.from({ length: 300 }, (_, i) => (i * 37) % 200);
  const starts = sizes.map((bytes) => storage.allocate(bytes));
  const finds = (i: number) => {
    for (const offset of new Set([0, sizes[i] >> 1, sizes[i]])) {
      const { buffer, byteOffset } = storage.at(starts[i] + offset);
      assert.is(buffer.byteLength, sizes[i]);
      assert.is(byteOffset, offset);
    }
  };
  for (const i of sizes.keys()) finds(i);
  const isFreed = (i: number) => i % 3 !== 0;
  for (const i of sizes.keys()) if (isFreed(i)) storage.free(starts[i], sizes[i]);
  for (const i of sizes.keys()) {
    if (!isFreed(i)) finds(i);
    else for (const offset of [0, 1]) assert.throws(() => storage.at(starts[i] + offset), /freed/);
  }
  starts.push(storage.allocate(64));
  sizes.push(64);
  finds(300);
  assert.throws(() => storage.at(0), /freed/);
});

test.run();
