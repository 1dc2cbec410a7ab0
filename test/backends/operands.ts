import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openReference } from "../../src/backends/reference.js";
import { policy } from "../../src/backends/wasm/kernels.js";
import { hasRelaxedSimd } from "../../src/backends/wasm/module.js";
import { openWasm as openOn } from "../../src/backends/wasm.js";
import type { Tensor, TensorData } from "../../src/tensor.js";
import { hasWebGpu, openSharedGpu } from "../webgpu/adapter.js";

/** Elements of NaN that freed memory is filled with before a suite takes any. */
const DIRT = 2 ** 22;

/** Opens a backend whose free memory holds NaN, which shows when scratch is read before written. */
function dirty(open: () => Promise<Backend>): () => Promise<Backend> {
  const opener = async () => {
    const backend = await open();
    backend.upload(new Float32Array(DIRT).fill(Number.NaN), [DIRT]).dispose();
    return backend;
  };
  // Suites name their tests after the opener.
  return Object.defineProperty(opener, "name", { value: open.name });
}

// Small operands go to several threads too.
policy.worthAThread = 1;

/** One thread, without relaxed SIMD. */
const openWasm = () => openOn({ threads: 1, simd: "baseline" });
/** Several threads, with relaxed SIMD where the runtime has it. */
const openThreads = () => openOn({ threads: 3 });

console.log(`threads of wasm: 1 and 3; relaxed SIMD: ${hasRelaxedSimd() ? "with 3" : "none here"}`);

const all: readonly (() => Promise<Backend>)[] = [
  ...[openReference, openWasm, openThreads].map(dirty),
  ...(hasWebGpu ? [openSharedGpu] : []),
];
/** The only one to run over, if any: test/runtimes/relaxed.test.ts asks for it. */
const only = process.env.PENJING_TEST_OPENER;

/** Every backend that the contract suites run over; the GPU's pool has sizes of its own to dirty. */
export const OPENERS = all.filter(({ name }) => only === undefined || name === only);

/** Whether an opener is the GPU's, which tests on a software adapter spare some of their cases. */
export function isGpu(open: () => Promise<Backend>): boolean {
  return open === openSharedGpu;
}

/** Sizes around the lanes and tiles of the kernels, with primes. */
export const SIZES: readonly number[] = [0, 1, 3, 4, 5, 7, 8, 9, 31, 33];

/** Distance from 1 to the next float32. */
export const EPSILON = 2 ** -23;

/** A stray read of this shows in any result, and a stray write over it shows by itself. */
const SENTINEL = 7.5e29;
const SENTINEL_BYTE = 0xab;
/** Elements kept on each side of an operand, at least: more than a kernel's widest step. */
const FRAME = 64;

/** The seed of all random operands; set PENJING_TEST_SEED to repeat or to vary a run. */
export const seed = Number(process.env.PENJING_TEST_SEED ?? 20301);
console.log(`seed ${seed}`);

let state = seed >>> 0;

/** The next number of a xorshift sequence, uniform in [0, 1). */
export function random(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
}

/** float32 values, uniform in [-1, 1). */
export function randomValues(size: number): Float32Array {
  return new Float32Array(size).map(() => 2 * random() - 1);
}

/** An operand that is rows of a taller tensor, whose other rows must be neither read nor written. */
export interface Framed<T extends TensorData> {
  readonly view: Tensor;
  /** The operand's elements, after a check that its surroundings are what they were. */
  read(): Promise<T>;
}

function framed<T extends TensorData>(
  backend: Backend,
  data: T,
  cols: number,
  padding: number,
): Framed<T> {
  const rows = cols === 0 ? 0 : data.length / cols;
  const margin = cols === 0 ? 0 : Math.ceil(FRAME / cols);
  const ArrayType = data.constructor as new (size: number) => T;
  const all = new ArrayType((rows + 2 * margin) * cols).fill(padding) as T;
  all.set(data, margin * cols);
  const parent = backend.upload(all, [rows + 2 * margin, cols]);
  return {
    view: backend.rows(parent, margin, rows),
    async read() {
      const after = (await backend.read(parent)) as T;
      const from = margin * cols;
      for (let i = 0; i < after.length; i++) {
        if (i >= from && i < from + data.length) continue;
        assert.ok(Object.is(after[i], all[i]), `${backend.name} wrote ${i - from} of an operand`);
      }
      return after.slice(from, from + data.length) as T;
    },
  };
}

/** A matrix that is only read; NaN (for integers, a sentinel) stands around it. */
export function input(backend: Backend, data: TensorData, cols: number): Tensor {
  const padding = data instanceof Float32Array ? Number.NaN : SENTINEL_BYTE;
  return framed(backend, data, cols, padding).view;
}

/** A matrix that is written; sentinels stand around it. */
export function output<T extends TensorData>(backend: Backend, data: T, cols: number): Framed<T> {
  return framed(backend, data, cols, data instanceof Float32Array ? SENTINEL : SENTINEL_BYTE);
}

/** An f32 matrix that is written and whose first content, NaN, must not matter. */
export function blank(backend: Backend, size: number, cols: number): Framed<Float32Array> {
  return output(backend, new Float32Array(size).fill(Number.NaN), cols);
}

/** A u8 matrix that is written; sentinels stand around it. */
export function outputBytes(backend: Backend, size: number, cols: number): Framed<Uint8Array> {
  return framed(backend, new Uint8Array(size).fill(0x55), cols, SENTINEL_BYTE);
}

/** Requires |actual - expected| <= bound at every element; infinities and NaN must be the same. */
export function assertWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: (i: number) => number,
  what: string,
): void {
  assert.is(actual.length, expected.length, what);
  for (let i = 0; i < actual.length; i++) {
    if (Object.is(actual[i], expected[i])) continue;
    const error = Math.abs(actual[i] - expected[i]);
    if (error <= bound(i)) continue;
    assert.unreachable(
      `${what}: element ${i} is ${actual[i]}, not ${expected[i]} within ${bound(i)} (seed ${seed})`,
    );
  }
}

/**
 * Holds an operation on a gate and as many other values against what it must give: in a tensor of its
 * own, over the gate, and over the others.
 */
export async function assertGated(
  backend: Backend,
  operation: "geglu" | "swiglu",
  {
    gate,
    up,
    expected,
  }: Readonly<Record<"gate" | "up", Float32Array>> & {
    readonly expected: ArrayLike<number>;
  },
  bound: (index: number) => number,
): Promise<void> {
  const what = `${backend.name}: ${operation} of ${gate.length} elements`;
  const run = backend.ops[operation];
  const [gates, ups] = [input(backend, gate, 1), input(backend, up, 1)];
  const out = blank(backend, gate.length, 1);
  run(gates, ups, out.view);
  assertWithin(await out.read(), expected, bound, what);
  const overGate = output(backend, gate, 1);
  run(overGate.view, ups, overGate.view);
  assertWithin(await overGate.read(), expected, bound, `${what}, over gate`);
  const overUp = output(backend, up, 1);
  run(gates, overUp.view, overUp.view);
  assertWithin(await overUp.read(), expected, bound, `${what}, over up`);
}
