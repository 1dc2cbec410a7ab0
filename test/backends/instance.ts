import * as assert from "uvu/assert";
import { hasRelaxedSimd, kernelModule, type Simd } from "../../src/backends/wasm/module.js";

/** The kernels' modules that this runtime can take. */
export const MODES: readonly Simd[] = hasRelaxedSimd() ? ["baseline", "relaxed"] : ["baseline"];

/** An instance of the kernels by itself, without a backend, for what only threads and tuning call. */
export interface Instance {
  readonly memory: WebAssembly.Memory;
  readonly exports: Readonly<Record<string, (...args: number[]) => number>>;
  /** Puts an operand into memory, NaN before and behind it; its address. */
  put(values: ArrayLike<number>): number;
  /** The address of `bytes` of NaN. */
  scratch(bytes: number): number;
  /** `size` floats at an address that `put` or `scratch` gave. */
  read(at: number, size: number): Float32Array;
  /** Requires what stands around all operands to be as it was, and forgets them. */
  reset(): void;
}

const START = 2 ** 20;
/** Floats around an operand. */
const FRAME = 64;

export async function openInstance(simd: Simd): Promise<Instance> {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536 });
  const abort = () => {
    throw new Error("the kernel stopped itself");
  };
  const env = { memory, abort };
  const { exports } = await WebAssembly.instantiate(await kernelModule(simd, false), { env });
  let next = START;
  const operands: { at: number; size: number }[] = [];
  const take = (size: number): number => {
    const at = next + 4 * FRAME;
    next = at + 4 * Math.ceil(size / 16) * 16;
    const missing = next + 4 * FRAME - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    new Float32Array(memory.buffer, at - 4 * FRAME, size + 2 * FRAME).fill(Number.NaN);
    operands.push({ at, size });
    return at;
  };
  return {
    memory,
    exports: exports as Instance["exports"],
    put(values) {
      const at = take(values.length);
      new Float32Array(memory.buffer, at, values.length).set(values);
      return at;
    },
    scratch: (bytes) => take(Math.ceil(bytes / 4)),
    read: (at, size) => new Float32Array(memory.buffer, at, size).slice(),
    reset() {
      for (const { at, size } of operands) {
        const before = new Float32Array(memory.buffer, at - 4 * FRAME, FRAME);
        const behind = new Float32Array(memory.buffer, at + 4 * size, FRAME);
        assert.ok([...before, ...behind].every(Number.isNaN), `written beside ${size} floats`);
      }
      operands.length = 0;
      next = START;
    },
  };
}
