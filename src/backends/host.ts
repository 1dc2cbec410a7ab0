import type { Backend, MemoryUse, ServedOperation } from "../backend.js";
import { PenjingError } from "../errors.js";
import {
  BYTES_PER_ELEMENT,
  colsOf,
  type HostTensor,
  sizeOf,
  type Tensor,
  type TensorData,
  type TensorDType,
} from "../tensor.js";
import type { HalfFormat } from "./operations/convert.js";
import { refuseCall } from "./plugged.js";
import type { OperationTable } from "./table.js";

/** Where a host backend's tensors live: hands out typed arrays by address, and takes them back. */
export interface HostStorage {
  /** Address of `bytes` zeroed bytes, aligned to 64. */
  allocate(bytes: number): number;
  free(address: number, bytes: number): void;
  /** The buffer behind an address, valid until the next allocation, and the offset within it. */
  at(address: number): { readonly buffer: ArrayBuffer; readonly byteOffset: number };
  /** Bytes handed out now and at most; scratch of kernels counts. */
  memoryUse(): MemoryUse;
  dispose(): void;
}

export const ARRAYS = {
  f32: Float32Array,
  i32: Int32Array,
  u16: Uint16Array,
  u8: Uint8Array,
} as const;

/** A tensor in host storage. `address` is what a WebAssembly kernel is given. */
export class StoredTensor implements HostTensor {
  readonly size: number;
  private cached: TensorData | undefined;
  private live = true;

  constructor(
    readonly storage: HostStorage,
    readonly dtype: TensorDType,
    readonly shape: readonly number[],
    readonly address: number,
    private readonly release: (() => void) | undefined,
  ) {
    this.size = sizeOf(shape);
  }

  get data(): TensorData {
    if (!this.live) throw new PenjingError("tensor", "it was disposed and cannot be used again.");
    const { buffer, byteOffset } = this.storage.at(this.address);
    if (this.cached?.buffer !== buffer) {
      this.cached = new ARRAYS[this.dtype](buffer, byteOffset, this.size);
    }
    return this.cached;
  }

  dispose(): void {
    if (!this.live || !this.release) return;
    this.live = false;
    this.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

export function dtypeOf(data: TensorData): TensorDType {
  if (data instanceof Float32Array) return "f32";
  if (data instanceof Int32Array) return "i32";
  if (data instanceof Uint16Array) return "u16";
  return "u8";
}

/** Requires data of a tensor's size and type. */
export function requireFill(tensor: Tensor, data: TensorData): void {
  if (data.length === tensor.size && dtypeOf(data) === tensor.dtype) return;
  throw new PenjingError(
    "tensor",
    `${data.length} elements of ${dtypeOf(data)} do not fill [${tensor.shape}] of ${tensor.dtype}.`,
  );
}

/** Requires rows that a tensor has. */
export function requireRows(tensor: Tensor, start: number, count: number, cols: number): void {
  if (start >= 0 && count >= 0 && (start + count) * cols <= tensor.size) return;
  throw new PenjingError("tensor", `rows ${start} to ${start + count} exceed [${tensor.shape}].`);
}

/** What sets a host backend apart from others. */
export interface Traits {
  /** As of `Backend`. @default "" */
  readonly arithmetic?: string | undefined;
  /** As of `Backend`. @default [] */
  readonly halfFormats?: readonly HalfFormat[] | undefined;
  /** As of `Backend`. */
  readonly packsFrom?: number | undefined;
  /** As of `ServedOperation`. */
  readonly how?: (() => string) | undefined;
  /** As of `Backend`. */
  readonly mostBytes?: number | undefined;
  /** As of `Backend`. */
  readonly another?: (() => Promise<Backend>) | undefined;
  /** As of `Backend`. */
  readonly defer?: ((isOn: boolean) => void) | undefined;
  /** Called by `dispose`. */
  readonly end?: (() => void) | undefined;
}

/** A backend whose tensors JavaScript can see: everything but its operations and its storage. */
export class HostBackend implements Backend {
  readonly ops;
  readonly arithmetic: string;
  readonly halfFormats: readonly HalfFormat[];
  readonly packsFrom: number | undefined;
  readonly runsAtOnce = true;
  readonly call = refuseCall;
  readonly mostBytes: number | undefined;
  readonly another?: () => Promise<Backend>;
  readonly defer?: (isOn: boolean) => void;

  constructor(
    readonly name: string,
    private readonly storage: HostStorage,
    private readonly table: OperationTable,
    private readonly traits: Traits = {},
  ) {
    this.ops = table.ops;
    this.arithmetic = traits.arithmetic ?? "";
    this.halfFormats = traits.halfFormats ?? [];
    this.packsFrom = traits.packsFrom;
    this.mostBytes = traits.mostBytes;
    if (traits.another) this.another = traits.another;
    if (traits.defer) this.defer = traits.defer;
  }

  zeros(shape: readonly number[], dtype: TensorDType = "f32"): Tensor {
    const bytes = sizeOf(shape) * BYTES_PER_ELEMENT[dtype];
    const address = this.storage.allocate(bytes);
    return new StoredTensor(this.storage, dtype, [...shape], address, () =>
      this.storage.free(address, bytes),
    );
  }

  upload(data: TensorData, shape: readonly number[]): Tensor {
    const tensor = this.zeros(shape, dtypeOf(data));
    this.write(tensor, data);
    return tensor;
  }

  write(tensor: Tensor, data: TensorData): void {
    requireFill(tensor, data);
    (tensor as HostTensor).data.set(data);
  }

  async read(tensor: Tensor): Promise<TensorData> {
    return (tensor as HostTensor).data.slice();
  }

  rows(tensor: Tensor, start: number, count: number, cols = colsOf(tensor)): Tensor {
    const parent = tensor as StoredTensor;
    requireRows(tensor, start, count, cols);
    const address = parent.address + start * cols * BYTES_PER_ELEMENT[tensor.dtype];
    return new StoredTensor(this.storage, tensor.dtype, [count, cols], address, undefined);
  }

  copy(from: Tensor, to: Tensor): void {
    this.write(to, (from as HostTensor).data);
  }

  served(): readonly ServedOperation[] {
    const how = this.traits.how?.();
    const served = this.table.served();
    if (!how) return served;
    return served.map((line) => (line.servedBy === this.name ? { ...line, how } : line));
  }

  memory(): MemoryUse {
    return this.storage.memoryUse();
  }

  dispose(): void {
    this.traits.end?.();
    this.storage.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
