import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HeapStorage, WasmStorage } from "../../src/backends/memory.js";

const test = suite("memory of backends");

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

test("a place inside of a piece of the heap is found, whatever was freed before", () => {
  const storage = new HeapStorage();
  const sizes = Array.from({ length: 500 }, (_, i) => (i % 7) * 50);
  const pieces = sizes.map((bytes) => ({ bytes, address: storage.allocate(bytes) }));
  const isFreed = (i: number) => i % 3 !== 0 || i > 450;
  for (const [i, { bytes, address }] of pieces.entries()) {
    if (isFreed(i)) storage.free(address, bytes);
  }
  for (const [i, { bytes, address }] of pieces.entries()) {
    for (const offset of [0, Math.ceil(bytes / 2), bytes]) {
      if (isFreed(i)) {
        assert.throws(() => storage.at(address + offset), /its storage was freed/);
        continue;
      }
      const found = storage.at(address + offset);
      assert.is(found.buffer, storage.at(address).buffer, `${i}: ${offset}`);
      assert.is(found.byteOffset, offset);
      assert.is(found.buffer.byteLength, bytes);
    }
  }
  const more = storage.allocate(10);
  assert.is(storage.at(more + 4).byteOffset, 4);
  assert.throws(() => storage.at(1), /its storage was freed/);
});

test.run();
