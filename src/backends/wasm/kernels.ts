import type { FloatName, Leaf } from "../../form.js";
import { isRowGrid, middleOf } from "../../forms/grid.js";
import { f32, type Tensor, u8 } from "../../tensor.js";
import type { StoredTensor } from "../host.js";
import { align, type KernelStorage } from "../memory.js";

/** The instantiated module and its memory, which every binding file is given once. */
export interface Kernels {
  /** Kernel functions by export name; pointers are byte addresses. They run after what was queued. */
  readonly exports: Readonly<Record<string, (...args: number[]) => number>>;
  /** The same, not waiting for what was queued: for those that read no memory, such as sizes. */
  readonly sizes: Readonly<Record<string, (...args: number[]) => number>>;
  readonly storage: KernelStorage;
  /** Threads that `run` may use, the caller included. */
  readonly threads: number;
  /**
   * Calls a kernel once for each list of arguments, in any order, and on several threads where
   * `work` is worth it.
   *
   * @param work multiply-adds in all, or what takes as long
   * @param stride thread i adds i times this to the last argument; the caller is thread 0. @default 0
   * @returns the results by call
   */
  run(name: string, calls: readonly (readonly number[])[], work: number, stride?: number): number[];
  /**
   * The same without results. Where the backend defers, the calls may be made later, after all that came
   * before: when memory is looked at, at the latest.
   *
   * @param work as of `run`. @default 0
   */
  queue(
    name: string,
    calls: readonly (readonly number[])[],
    work?: number,
    stride?: number,
  ): undefined;
  /** Whether `queue` puts off what it is given: then threads are cheap to use. */
  readonly isDeferring: boolean;
}

/** What decides how work is cut. Mutable, so that tests see small work on several threads. */
export const policy = {
  /** Multiply-adds of a part of the work that make it worth waking another thread. */
  worthAThread: 5e5,
  /** The same where calls are deferred: threads are awake, and take what is queued. */
  worthAPart: 2e4,
};
/** Multiply-adds that take as long as packing one element of an operand, about. */
export const PACK_WORK = 20;

/** Parts for each thread, so that one that is held up leaves work to the others. */
const PARTS = 3;

/** Whether calls go to several threads. */
export function isSpread(
  { threads, isDeferring }: Pick<Kernels, "threads" | "isDeferring">,
  calls: number,
  work: number,
): boolean {
  const worth = isDeferring ? policy.worthAPart : policy.worthAThread;
  return threads > 1 && calls > 1 && work >= 2 * worth;
}

/** A range of rows, columns or the like. */
export interface Range {
  readonly start: number;
  readonly count: number;
}

/**
 * Rows or columns of a product that stay together: whole tiles of every micro-kernel (DIVISIBLE in
 * assembly/lib/micro-kernel.ts).
 */
export const TILES = 24;

/**
 * Cuts work into ranges that threads may take.
 *
 * @param units rows, columns or the like that can be computed apart
 * @param grain units that belong together; every start is a multiple of it
 * @param work multiply-adds in all, or what takes as long
 */
export function cut(kernels: Kernels, units: number, grain: number, work: number): Range[] {
  const groups = Math.ceil(units / grain);
  // Those that are deferred are small, and a thread that is held up is overtaken at the next.
  const each = kernels.isDeferring ? 1 : PARTS;
  const most = kernels.threads > 1 ? kernels.threads * each : 1;
  const worth = kernels.isDeferring ? policy.worthAPart : policy.worthAThread;
  const parts = Math.max(1, Math.min(groups, most, Math.floor(work / worth)));
  return Array.from({ length: parts }, (_, i) => {
    const start = Math.floor((groups * i) / parts) * grain;
    const end = Math.min(units, Math.floor((groups * (i + 1)) / parts) * grain);
    return { start, count: end - start };
  });
}

/** Formats of weights as assembly/lib/half.ts numbers them. */
const FORMATS: Readonly<Record<FloatName, number>> = { f32: 0, f16: 1, bf16: 2 };
const I8 = 3;

/** The format in which kernels read a leaf's numbers; undefined where none does. */
export function formatOf({ numbers, shape }: Leaf): number | undefined {
  if (numbers.kind === "float") return FORMATS[numbers.dtype];
  return isRowGrid(numbers, shape[1]) ? I8 : undefined;
}

/** Whether a format has a scale for each row. */
export function hasScales(format: number): boolean {
  return format === FORMATS.f16 || format === I8;
}

/** Puts a leaf's scales at `scales`, and runs `use` with the address of its values: codes as int8. */
export function withValues(
  kernels: Kernels,
  { numbers, parts }: Leaf,
  scales: number,
  use: (values: number) => void,
): void {
  const values = parts.get("values")!;
  if (numbers.kind !== "grid") {
    use(address(values));
    return;
  }
  const given = f32(parts.get("scales")!);
  floatsAt(kernels, scales, given.length).set(given);
  withScratch(kernels, values.size, (codes) => {
    const middle = middleOf(numbers);
    const { buffer, byteOffset } = kernels.storage.at(codes);
    const to = new Int8Array(buffer, byteOffset, values.size);
    u8(values).forEach((code, i) => {
      to[i] = code - middle;
    });
    use(codes);
  });
}

/** Byte address of a tensor in the module's memory. */
export function address(tensor: Tensor): number {
  return (tensor as StoredTensor).address;
}

/** Floats in the module's memory, until it grows. */
export function floatsAt({ storage }: Pick<Kernels, "storage">, at: number, count: number) {
  const { buffer, byteOffset } = storage.at(at);
  return new Float32Array(buffer, byteOffset, count);
}

/** The same of f64. */
export function doublesAt({ storage }: Pick<Kernels, "storage">, at: number, count: number) {
  const { buffer, byteOffset } = storage.at(at);
  return new Float64Array(buffer, byteOffset, count);
}

/** The same of bytes. */
export function bytesAt({ storage }: Pick<Kernels, "storage">, at: number, count: number) {
  const { buffer, byteOffset } = storage.at(at);
  return new Uint8Array(buffer, byteOffset, count);
}

/**
 * Runs `use` with the address of `bytes` of uncleared scratch memory, and frees it afterwards.
 * Without any bytes the address is 0, and nothing is taken.
 */
export function withScratch<T>(
  { storage }: Kernels,
  bytes: number,
  use: (address: number) => T,
): T {
  if (bytes === 0) return use(0);
  const scratch = storage.reserve(bytes);
  try {
    return use(scratch);
  } finally {
    storage.free(scratch, bytes);
  }
}

/** What frees `bytes` at an address when it is first called. */
export function freeing({ storage }: Kernels, at: number, bytes: number): () => void {
  let live = true;
  return () => {
    if (live) storage.free(at, bytes);
    live = false;
  };
}

/** Ranges of `size` units, the last perhaps shorter. They do not depend on the threads. */
export function equalRanges(units: number, size: number): Range[] {
  return Array.from({ length: Math.ceil(units / size) }, (_, i) => {
    return { start: i * size, count: Math.min(size, units - i * size) };
  });
}

/** Multiply-adds between two looks at a signal: some 30 ms of one thread. */
const TURN_WORK = 4e8;

/** Ranges of work; after each the caller may look whether to stop. */
export function turns(units: number, grain: number, workPerUnit: number): Range[] {
  return equalRanges(units, grain * Math.max(1, Math.floor(TURN_WORK / (workPerUnit * grain))));
}

/**
 * Calls a kernel for each range, on several threads where there are any. The kernel's last argument
 * is the address of scratch memory, uncleared, of which each thread has its own.
 *
 * @param work as of `cut`
 * @param bytes of scratch for a range
 * @param args all arguments but the last
 * @returns what the calls returned, by range
 */
export function runRanges(...given: RangeArguments): number[] {
  return withRanges("run", ...given) as number[];
}

/** The same without results, perhaps later. */
export function queueRanges(...given: RangeArguments): void {
  withRanges("queue", ...given);
}

type RangeArguments = [
  kernels: Kernels,
  name: string,
  ranges: readonly Range[],
  work: number,
  bytes: (range: Range) => number,
  args: (range: Range) => readonly number[],
];

function withRanges(
  how: "run" | "queue",
  ...[kernels, name, ranges, work, bytes, args]: RangeArguments
): number[] | undefined {
  const stride = ranges.reduce((most, range) => Math.max(most, align(bytes(range))), 0);
  // Whichever thread comes first takes what was queued.
  const several = kernels.isDeferring || isSpread(kernels, ranges.length, work);
  const copies = several ? kernels.threads : 1;
  return withScratch(kernels, stride * copies, (scratch) =>
    kernels[how](
      name,
      ranges.map((range) => [...args(range), scratch]),
      work,
      stride,
    ),
  );
}
