import { suite } from "uvu";
import * as assert from "uvu/assert";
import { WasmStorage } from "../../src/backends/memory.js";

const test = suite("memory of wasm");

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

test.run();
