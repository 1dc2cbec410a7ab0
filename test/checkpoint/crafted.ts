import * as assert from "uvu/assert";
import { PenjingError } from "../../src/errors.js";
import { type ByteSource, memorySource } from "../../src/platform/files.js";

/** A safetensors file from header text and data, honest or not. */
export function crafted(header: string | Uint8Array, data: number | Uint8Array = 0): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const tail = typeof data === "number" ? new Uint8Array(data) : data;
  const file = new Uint8Array(8 + json.byteLength + tail.byteLength);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.byteLength), true);
  file.set(json, 8);
  file.set(tail, 8 + json.byteLength);
  return file;
}

/** A source over bytes that counts what is read from it. */
export function countingSource(bytes: Uint8Array): ByteSource & { count: number; closed: boolean } {
  const inner = memorySource("counted", bytes);
  return {
    ...inner,
    count: 0,
    closed: false,
    async read(offset, length) {
      this.count += length;
      return inner.read(offset, length);
    },
    async close() {
      this.closed = true;
    },
  };
}

/** Runs what must fail with a PenjingError whose message matches; returns the error. */
export async function refused(
  action: () => unknown,
  pattern: RegExp,
  label = "",
): Promise<PenjingError> {
  try {
    await action();
  } catch (error) {
    assert.instance(error, PenjingError, `${label}: ${error}`);
    const { message } = error as Error;
    assert.ok(pattern.test(message), `${label}: "${message}" does not match ${pattern}`);
    return error as PenjingError;
  }
  assert.unreachable(`${label}: nothing was refused, expected ${pattern}`);
  throw new Error("unreachable");
}
