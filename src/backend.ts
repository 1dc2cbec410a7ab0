/// <reference lib="esnext.disposable" preserve="true" />

import type { ArgumentsOf, HostOperation } from "./backends/operations/contract.js";
import type { HalfFormat } from "./backends/operations/convert.js";
import type { Operations } from "./backends/operations/index.js";
import type { Tensor, TensorData, TensorDType } from "./tensor.js";

export type { ArmorOptions, ArmorState } from "./backends/operations/armor.js";
export type { HostOperation } from "./backends/operations/contract.js";
export type { HalfFormat } from "./backends/operations/convert.js";
export type { EntropyOptions } from "./backends/operations/entropy.js";
export type { PreparedMatrix, Weight } from "./backends/operations/form.js";
export type { Operations } from "./backends/operations/index.js";

export type OperationName = keyof Operations;

/** Copies between the host's memory and a backend's own, by `upload` and `write`, and by `read`. */
export type TransferName = "upload" | "read";

/** One line of "which backend served what": kept for every operation that was called. */
export interface ServedOperation {
  /** Name of the operation, or "upload" or "read" for copies. */
  readonly operation: string;
  /** Backend whose kernel ran. */
  readonly servedBy: string;
  readonly calls: number;
  /** Of `multiply`: how the matrices were held, as in "2:4 x bf16", and ", int8 activations" where these are rounded. */
  readonly held?: string | undefined;
  /** Why that one, where it is known. */
  readonly reason?: string | undefined;
  /** In which way that backend runs, such as "relaxed SIMD, 2 threads", where there is a choice. */
  readonly how?: string | undefined;
  /** Bytes that a transfer copied; absent of operations, and of backends in the host's memory. */
  readonly copiedBytes?: number | undefined;
}

export interface MemoryUse {
  /** Bytes of tensors now alive. */
  readonly live: number;
  /** Largest `live` since the backend was opened. */
  readonly peak: number;
}

/** A place to compute that is open. Calls take it as `backend`, and do not dispose it. */
export interface OpenBackend {
  readonly name: string;
  /** What besides the name decides the bits of results: "baseline SIMD", "relaxed SIMD", or "". */
  readonly arithmetic: string;
  /** Which backend served each operation called so far. */
  served(): readonly ServedOperation[];
  memory(): MemoryUse;
  /** Frees everything. The backend cannot be used afterwards. */
  dispose(): void;
  /** The same at the end of a block that declared it with `using`. */
  [Symbol.dispose](): void;
}

/** Storage for tensors and a full table of operations over them. */
export interface Backend extends OpenBackend {
  /**
   * Whether operations have run when they return. Otherwise they are queued, and never keep timers
   * waiting.
   */
  readonly runsAtOnce: boolean;
  /** The 16-bit formats in which `prepare` keeps weights as they are. */
  readonly halfFormats: readonly HalfFormat[];
  /**
   * With this many tokens or more, products with a packed 2:4 matrix have the bits of those with it dense, and
   * are faster. Absent where they are not.
   */
  readonly packsFrom?: number | undefined;
  readonly ops: Operations;
  /** Most bytes that its memory holds; absent where only the machine says. */
  readonly mostBytes?: number | undefined;
  /**
   * Runs an operation of a plug-in, after what was queued before it. What it reads must not change
   * until it resolves.
   *
   * @typeParam Operation its type, which says what its arguments are
   * @throws PenjingError when no plug-in that was given has an operation of this name
   */
  call<Operation extends HostOperation>(
    name: string,
    ...args: ArgumentsOf<Operation>
  ): Promise<Awaited<ReturnType<Operation["run"]>>>;
  /** A zero-filled tensor. */
  zeros(shape: readonly number[], dtype?: TensorDType): Tensor;
  /** A tensor holding a copy of `data`; the dtype follows from the array's type. */
  upload(data: TensorData, shape: readonly number[]): Tensor;
  /** Overwrites a tensor with `data` of the same dtype and size. */
  write(tensor: Tensor, data: TensorData): void;
  /** A copy of the tensor's elements. */
  read(tensor: Tensor): Promise<TensorData>;
  /**
   * Rows [start, start + count) as a view without a copy, which the parent must outlive; leading
   * dimensions are flattened.
   *
   * @param cols length of a row. @default that of the tensor
   */
  rows(tensor: Tensor, start: number, count: number, cols?: number): Tensor;
  /** Copies all elements of `from` to `to`, same dtype and size. */
  copy(from: Tensor, to: Tensor): void;
  /**
   * From `true` to the `false` of each, small operations may run after they returned, in their order, before
   * their results are looked at: threads then need not be called to every one of them. Absent where that
   * gains nothing.
   */
  defer?(isOn: boolean): void;
  /**
   * Opens another of its kind, which computes the same bits over a memory of its own. Absent where one
   * memory holds all that there is.
   */
  another?(): Promise<Backend>;
}
