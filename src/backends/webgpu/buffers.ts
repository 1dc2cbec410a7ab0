import { DeviceError, PenjingError } from "../../errors.js";
import { BYTES_PER_ELEMENT, sizeOf, type Tensor, type TensorDType } from "../../tensor.js";
import type { Gpu } from "./device.js";

/** What storage bindings must be aligned to. */
export const BINDING_ALIGNMENT = 256;
/** Bytes of freed buffers that are kept for later tensors. */
const MOST_IDLE_BYTES = 2 ** 28;
const MEBIBYTE = 2 ** 20;

/** A buffer of the pool. */
export interface Block {
  readonly id: number;
  readonly buffer: GPUBuffer;
  /** The size of its class: at least what was asked for. */
  readonly bytes: number;
  /** Number of the submission that last used it. */
  usedIn: number;
}

/** Powers of two, above 1 MiB eighths of them, so that at most an eighth is wasted. */
function classOf(bytes: number): number {
  let size = BINDING_ALIGNMENT;
  while (size < bytes) size *= 2;
  const step = size / 16;
  return size <= MEBIBYTE ? size : Math.ceil(bytes / step) * step;
}

/** Buffers by size; those given back serve later requests, up to a limit. */
export class BufferPool {
  private readonly idle = new Map<number, Block[]>();
  private readonly all = new Set<Block>();
  private idleBytes = 0;
  private nextId = 0;

  constructor(private readonly gpu: Gpu) {}

  /** A block of at least `bytes`, and whether it may hold something other than zeros. */
  take(bytes: number): { block: Block; isDirty: boolean } {
    const size = classOf(Math.max(bytes, 1));
    const kept = this.idle.get(size)?.pop();
    if (kept) {
      this.idleBytes -= size;
      return { block: kept, isDirty: true };
    }
    const most = this.gpu.limits.maxBufferSize;
    if (bytes > most) {
      throw new DeviceError(
        `a tensor of ${bytes} bytes exceeds the ${most} bytes that ${this.gpu.adapterName} allows in one buffer; use shorter samples, or \`backend: wasm\`.`,
      );
    }
    const buffer = this.gpu.device.createBuffer({
      size: Math.min(size, most - (most % 16)),
      usage: GPU_STORAGE | GPU_COPY_SRC | GPU_COPY_DST,
    });
    const block = { id: this.nextId++, buffer, bytes: size, usedIn: -1 };
    this.all.add(block);
    return { block, isDirty: false };
  }

  /** @returns whether the block was kept; otherwise `destroy` it when no queued work uses it */
  give(block: Block): boolean {
    if (this.idleBytes + block.bytes > MOST_IDLE_BYTES) return false;
    this.idleBytes += block.bytes;
    const list = this.idle.get(block.bytes);
    if (list) list.push(block);
    else this.idle.set(block.bytes, [block]);
    return true;
  }

  destroy(block: Block): void {
    this.all.delete(block);
    block.buffer.destroy();
  }

  dispose(): void {
    for (const { buffer } of this.all) buffer.destroy();
    this.all.clear();
    this.idle.clear();
  }
}

// The numbers of GPUBufferUsage and GPUMapMode: Node has no such globals.
export const GPU_MAP_READ = 1;
export const GPU_COPY_SRC = 4;
export const GPU_COPY_DST = 8;
export const GPU_UNIFORM = 64;
export const GPU_STORAGE = 128;

/** A tensor in a buffer of the pool, at any byte offset; u8 and u16 lie in 32-bit words. */
export class GpuTensor implements Tensor {
  readonly size: number;
  private live = true;

  /** @param ids for i32: the elements, which only `write` sets, for checks without waiting */
  constructor(
    readonly storage: Block,
    readonly dtype: TensorDType,
    readonly shape: readonly number[],
    readonly byteOffset: number,
    readonly ids: Int32Array | undefined,
    private readonly release: (() => void) | undefined,
    private readonly parent?: GpuTensor,
  ) {
    this.size = sizeOf(shape);
  }

  requireLive(): void {
    if (this.isLive) return;
    throw new PenjingError("tensor", "it was disposed and cannot be used again.");
  }

  private get isLive(): boolean {
    return this.live && (this.parent?.isLive ?? true);
  }

  /** Whether the storage holds nothing else. */
  get isOwner(): boolean {
    return this.release !== undefined;
  }

  get bytes(): number {
    return this.size * BYTES_PER_ELEMENT[this.dtype];
  }

  /** A view of the same storage from `start` elements on. */
  view(shape: readonly number[], start: number): GpuTensor {
    const at = this.byteOffset + start * BYTES_PER_ELEMENT[this.dtype];
    const ids = this.ids?.subarray(start, start + sizeOf(shape));
    return new GpuTensor(this.storage, this.dtype, shape, at, ids, undefined, this);
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
