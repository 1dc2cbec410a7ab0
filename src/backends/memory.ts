import type { MemoryUse } from "../backend.js";
import { PenjingError } from "../errors.js";
import type { HostStorage } from "./host.js";

const ALIGNMENT = 64;
const PAGE = 65536;
/** wasm32 addresses 4 GiB; the last page stays unused so that end addresses fit in 32 bits. */
const MAXIMUM_PAGES = 65535;
/** Bytes that one WebAssembly memory can have. */
export const WASM_BYTES = MAXIMUM_PAGES * PAGE;

/** The next size that a block of memory may have. */
export function align(bytes: number): number {
  return Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
}

/** Counts bytes that are handed out and taken back. */
export class Meter {
  private live = 0;
  private peak = 0;

  add(bytes: number): void {
    this.live += bytes;
    this.peak = Math.max(this.peak, this.live);
  }

  /** From here on `peak` is the largest from now on. */
  restart(): void {
    this.peak = this.live;
  }

  read(): MemoryUse {
    return { live: this.live, peak: this.peak };
  }
}

/** Storage that kernels have room of, too. */
export interface KernelStorage extends HostStorage {
  /** Like `allocate`, but the content is undefined: for scratch that is written before it is read. */
  reserve(bytes: number): number;
}

/** A piece of the JavaScript heap, taken when it is first looked at. */
class Piece {
  private taken: ArrayBuffer | undefined;

  constructor(readonly bytes: number) {}

  get buffer(): ArrayBuffer {
    this.taken ??= new ArrayBuffer(this.bytes);
    return this.taken;
  }
}

/** Addresses of freed pieces that may stay listed beside those of as many pieces as there are. */
const FREED = 64;

/** The place of the first of ascending numbers that is no smaller than a value. */
function firstAtLeast(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Storage on the JavaScript heap: one ArrayBuffer for each tensor, addresses far apart. */
export class HeapStorage implements KernelStorage {
  private readonly pieces = new Map<number, Piece>();
  /** Where pieces start, ascending, some of which may be freed: views are found in it. */
  private starts: number[] = [];
  readonly meter = new Meter();
  private next = ALIGNMENT;

  allocate(bytes: number): number {
    const address = this.next;
    this.pieces.set(address, new Piece(bytes));
    this.starts.push(address);
    this.next += align(bytes) + ALIGNMENT;
    this.meter.add(bytes);
    return address;
  }

  reserve(bytes: number): number {
    return this.allocate(bytes);
  }

  memoryUse(): MemoryUse {
    return this.meter.read();
  }

  free(address: number, bytes: number): void {
    this.meter.add(-bytes);
    this.pieces.delete(address);
    // A Map keeps the order in which its keys came.
    const most = 2 * this.pieces.size + FREED;
    if (this.starts.length > most) this.starts = [...this.pieces.keys()];
  }

  at(address: number): { buffer: ArrayBuffer; byteOffset: number } {
    const exact = this.pieces.get(address);
    if (exact) return { buffer: exact.buffer, byteOffset: 0 };
    const start = this.starts[firstAtLeast(this.starts, address) - 1];
    const piece = this.pieces.get(start);
    if (piece && address <= start + piece.bytes) {
      return { buffer: piece.buffer, byteOffset: address - start };
    }
    throw new PenjingError("tensor", "its storage was freed; a view must not outlive its parent.");
  }

  dispose(): void {
    this.pieces.clear();
    this.starts = [];
  }
}

/**
 * First-fit allocator over a WebAssembly memory that grows. Free blocks are kept sorted by address
 * and joined with their neighbours, so a loop that frees what it takes never grows the memory.
 */
export class WasmStorage implements KernelStorage {
  private readonly blocks: { address: number; bytes: number }[] = [];
  private readonly meter = new Meter();
  /** Of what was ever handed out. */
  private end: number;

  /**
   * @param base first address that may be handed out; what lies below belongs to the module
   * @param most bytes that the memory may have
   */
  constructor(
    readonly memory: WebAssembly.Memory,
    base: number,
    private readonly most = WASM_BYTES,
    /** Called before JavaScript reads or writes the memory. */
    private readonly settle: () => void = () => {},
  ) {
    this.end = align(base);
  }

  allocate(bytes: number): number {
    // What was never handed out is zero.
    const used = this.end;
    const address = this.reserve(bytes);
    const old = Math.min(bytes, Math.max(0, used - address));
    if (old > 0) this.settle();
    new Uint8Array(this.memory.buffer, address, old).fill(0);
    return address;
  }

  reserve(bytes: number): number {
    const address = this.take(align(bytes));
    this.meter.add(bytes);
    return address;
  }

  private take(wanted: number): number {
    for (let i = 0; i < this.blocks.length; i++) {
      const block = this.blocks[i];
      if (block.bytes < wanted) continue;
      const { address } = block;
      block.address += wanted;
      block.bytes -= wanted;
      if (block.bytes === 0) this.blocks.splice(i, 1);
      return address;
    }
    const address = this.end;
    // A tail that is free may be extended instead of left behind.
    const tail = this.blocks.at(-1);
    const start = tail && tail.address + tail.bytes === this.end ? tail.address : address;
    this.grow(start + wanted);
    if (start !== address) this.blocks.pop();
    this.end = start + wanted;
    return start;
  }

  private grow(end: number): void {
    const pages = Math.ceil(end / PAGE);
    const have = this.memory.buffer.byteLength / PAGE;
    if (pages <= have) return;
    // Growing by an eighth at least keeps the number of detached views small.
    const most = Math.floor(this.most / PAGE);
    const target = Math.min(most, Math.max(pages, Math.ceil(have * 1.125)));
    try {
      if (pages > most) throw new RangeError("beyond its limit");
      this.memory.grow(target - have);
    } catch (cause) {
      throw new PenjingError(
        "wasm",
        `the WebAssembly memory cannot grow to ${Math.ceil(end / 2 ** 20)} MiB (its limit is ${Math.ceil(this.most / 2 ** 20)} MiB); use samples or windows of at most 2048 tokens, a method that needs no Hessian such as wanda, or \`backend: reference\`.`,
        { cause },
      );
    }
  }

  memoryUse(): MemoryUse {
    return this.meter.read();
  }

  free(address: number, bytes: number): void {
    this.meter.add(-bytes);
    const size = align(bytes);
    let low = 0;
    let high = this.blocks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.blocks[middle].address < address) low = middle + 1;
      else high = middle;
    }
    this.blocks.splice(low, 0, { address, bytes: size });
    this.join(low);
    this.join(low - 1);
  }

  private join(i: number): void {
    const [a, b] = [this.blocks[i], this.blocks[i + 1]];
    if (a && b && a.address + a.bytes === b.address) {
      a.bytes += b.bytes;
      this.blocks.splice(i + 1, 1);
    }
  }

  at(address: number): { buffer: ArrayBuffer; byteOffset: number } {
    this.settle();
    return { buffer: this.memory.buffer, byteOffset: address };
  }

  dispose(): void {
    this.blocks.length = 0;
  }
}
