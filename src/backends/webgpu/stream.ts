import { DeviceError, PenjingError } from "../../errors.js";
import { BYTES_PER_ELEMENT, type Tensor, type TensorData } from "../../tensor.js";
import { ARRAYS } from "../host.js";
import { Meter } from "../memory.js";
import {
  BINDING_ALIGNMENT,
  type Block,
  BufferPool,
  GPU_COPY_DST,
  GPU_MAP_READ,
  GpuTensor,
} from "./buffers.js";
import { awaitLoss, type Gpu, requireWorking } from "./device.js";
import { ParameterRing, type Pipelines } from "./pipelines.js";
import type { Constants } from "./shader-text.js";

const MOST_BIND_GROUPS = 4096;
/** Dispatches after which work is handed to the device although nothing is read yet. */
const DISPATCHES_A_SUBMIT = 256;

/** One run of a shader. */
export interface Dispatch {
  readonly shader: string;
  readonly constants?: Constants | undefined;
  /** In the order of the shader's bindings from 1 on; an absent one is bound to nothing useful. */
  readonly operands: readonly (GpuTensor | undefined)[];
  /** 32-bit words that follow the operands' element offsets in the shader's parameters. */
  readonly parameters: readonly number[];
  /** Workgroups, by dimension. */
  readonly groups: readonly [number, number?, number?];
}

function roundUp(x: number, step: number): number {
  return Math.ceil(x / step) * step;
}

/** The bytes, up to a whole word. */
function padded({ buffer, byteOffset, byteLength }: TensorData): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(roundUp(byteLength, 4));
  whole.set(new Uint8Array(buffer, byteOffset, byteLength));
  return whole;
}

/**
 * Work for a device in the order it was asked for. Dispatches and copies are collected in one
 * command encoder, which is submitted when something is read.
 */
export class Stream {
  /** Workgroups in a dimension at most. Mutable, so that tests see shaders take several turns. */
  static mostGroups = 65535;

  readonly meter = new Meter();
  private readonly pool: BufferPool;
  private readonly ring: ParameterRing;
  private readonly groups = new Map<string, GPUBindGroup>();
  private readonly nothing: Block;
  private encoder: GPUCommandEncoder | undefined;
  private pass: GPUComputePassEncoder | undefined;
  private dispatches = 0;
  private submission = 0;
  private isOpen = true;

  constructor(
    readonly gpu: Gpu,
    private readonly pipelines: Pipelines,
  ) {
    this.pool = new BufferPool(gpu);
    this.ring = new ParameterRing(gpu.device);
    this.nothing = this.pool.take(BINDING_ALIGNMENT).block;
  }

  private requireWorking(): void {
    if (!this.isOpen) throw new PenjingError("webgpu", "the backend was disposed.");
    requireWorking(this.gpu);
  }

  /**
   * A tensor whose first content is undefined unless `zeroed`.
   *
   * @param options.zeroed fill it with zeros. @default false
   * @param options.mirrored of an i32 tensor, keep a copy of what is written. @default false
   */
  allocate(
    shape: readonly number[],
    dtype: GpuTensor["dtype"] = "f32",
    { zeroed = false, mirrored = false } = {},
  ): GpuTensor {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    const bytes = size * BYTES_PER_ELEMENT[dtype];
    const { block, isDirty } = this.pool.take(roundUp(bytes, 16));
    this.meter.add(bytes);
    const ids = mirrored && dtype === "i32" ? new Int32Array(size) : undefined;
    const release = () => {
      this.meter.add(-bytes);
      if (this.isOpen) this.release(block);
    };
    const tensor = new GpuTensor(block, dtype, [...shape], 0, ids, release);
    if (zeroed && isDirty && bytes > 0) {
      this.commands(block).clearBuffer(block.buffer, 0, roundUp(bytes, 4));
    }
    return tensor;
  }

  private release(block: Block): void {
    if (this.pool.give(block)) return;
    if (block.usedIn === this.submission) this.submit();
    this.groups.clear();
    this.pool.destroy(block);
  }

  /** The encoder outside of any pass, for commands that use the block. */
  private commands(block: Block): GPUCommandEncoder {
    block.usedIn = this.submission;
    this.pass?.end();
    this.pass = undefined;
    this.encoder ??= this.gpu.device.createCommandEncoder();
    return this.encoder;
  }

  /** Hands what was encoded to the device. */
  private submit(): void {
    this.pass?.end();
    this.ring.write();
    if (this.encoder) this.gpu.device.queue.submit([this.encoder.finish()]);
    this.pass = undefined;
    this.encoder = undefined;
    this.dispatches = 0;
    this.submission++;
  }

  /**
   * Cuts rows into stretches that are small enough to bind all these tensors at once. Most often one
   * stretch is. All but the last are multiples of 64 rows where that fits, so that rows of whole
   * words begin where bindings may.
   *
   * @param tensors each of `rows` rows
   * @returns start and count of each
   */
  stretches(rows: number, ...tensors: readonly Tensor[]): [start: number, count: number][] {
    // A binding begins at a multiple of the alignment, which may be before the operand.
    const room = this.gpu.mostBound - 2 * BINDING_ALIGNMENT;
    const widest = Math.max(
      ...tensors.map(({ size, dtype }) => (size / rows) * BYTES_PER_ELEMENT[dtype]),
    );
    if (rows === 0 || widest * rows <= room) return rows === 0 ? [] : [[0, rows]];
    const most = Math.max(1, Math.floor(room / widest));
    const step = most < 64 ? most : most - (most % 64);
    return Array.from({ length: Math.ceil(rows / step) }, (_, i) => [
      i * step,
      Math.min(step, rows - i * step),
    ]);
  }

  dispatch({ shader, constants, operands, parameters, groups }: Dispatch): void {
    if (groups.includes(0)) return;
    for (const operand of operands) operand?.requireLive();
    const pipeline = this.pipelines.get(shader, constants);
    const { modes, signature } = pipeline;
    const written = operands.filter((_, i) => modes[i] === "read_write").map((t) => t?.storage);
    const offsets: number[] = [];
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: this.ring.buffer, size: 256 } },
    ];
    const copies: Block[] = [];
    let key = signature;
    for (let i = 0; i < modes.length; i++) {
      const operand = operands[i];
      let block = this.nothing;
      let [start, size] = [0, BINDING_ALIGNMENT];
      let offset = 0;
      if (operand && operand.size > 0) {
        block = operand.storage;
        start = operand.byteOffset - (operand.byteOffset % BINDING_ALIGNMENT);
        offset = (operand.byteOffset - start) / BYTES_PER_ELEMENT[operand.dtype];
        const end = roundUp(operand.byteOffset + operand.bytes, 16);
        size = Math.min(end, block.buffer.size) - start;
        if (size > this.gpu.mostBound) {
          throw new DeviceError(
            `a shader (${shader}) needs ${size} bytes at once, but ${this.gpu.adapterName} allows ${this.gpu.mostBound}; use shorter samples, or \`backend: wasm\`.`,
          );
        }
        if (modes[i] === "read" && written.includes(block)) {
          // A buffer cannot be read and written by one dispatch, even in different places.
          const { block: copy } = this.pool.take(size);
          this.commands(block).copyBufferToBuffer(block.buffer, start, copy.buffer, 0, size);
          copies.push(copy);
          block = copy;
          start = 0;
        }
      }
      block.usedIn = this.submission;
      offsets.push(offset);
      key += `,${block.id}.${start}.${size}`;
      entries.push({ binding: i + 1, resource: { buffer: block.buffer, offset: start, size } });
    }
    let group = this.groups.get(key);
    if (!group) {
      if (this.groups.size >= MOST_BIND_GROUPS) this.groups.clear();
      group = this.gpu.device.createBindGroup({ layout: pipeline.layout, entries });
      this.groups.set(key, group);
    }
    this.encoder ??= this.gpu.device.createCommandEncoder();
    this.pass ??= this.encoder.beginComputePass();
    this.pass.setPipeline(pipeline.pipeline);
    this.pass.setBindGroup(0, group, [this.ring.add([...offsets, ...parameters])]);
    this.pass.dispatchWorkgroups(...groups);
    this.dispatches++;
    for (const copy of copies) this.release(copy);
    if (this.ring.isFull || this.dispatches >= DISPATCHES_A_SUBMIT) this.submit();
  }

  /** Overwrites a tensor; `data` may change afterwards. */
  write(tensor: GpuTensor, data: TensorData): void {
    tensor.requireLive();
    tensor.ids?.set(data);
    if (data.byteLength === 0) return;
    const block = tensor.storage;
    const { queue } = this.gpu.device;
    const { buffer, byteOffset, byteLength } = data;
    const isWhole = tensor.byteOffset % 4 === 0 && byteLength % 4 === 0;
    if (isWhole || tensor.isOwner) {
      // What is encoded but not submitted would otherwise see the new elements.
      if (block.usedIn === this.submission) this.submit();
      const bytes = isWhole ? undefined : padded(data);
      if (bytes) queue.writeBuffer(block.buffer, 0, bytes);
      else queue.writeBuffer(block.buffer, tensor.byteOffset, buffer, byteOffset, byteLength);
      return;
    }
    const whole = padded(data);
    const { block: staged } = this.pool.take(whole.length);
    if (staged.usedIn === this.submission) this.submit();
    queue.writeBuffer(staged.buffer, 0, whole);
    const source = new GpuTensor(staged, "u8", [byteLength], 0, undefined, undefined);
    this.copyBytes(source, tensor);
    this.release(staged);
  }

  copy(from: GpuTensor, to: GpuTensor): void {
    from.requireLive();
    to.requireLive();
    if (from.ids) to.ids?.set(from.ids);
    if (from.size === 0) return;
    const [source, target] = [from.storage, to.storage];
    const isAligned = [from.byteOffset, to.byteOffset, from.bytes].every((n) => n % 4 === 0);
    if (!isAligned || source === target) {
      this.copyBytes(from, to);
      return;
    }
    this.commands(target);
    this.commands(source).copyBufferToBuffer(
      source.buffer,
      from.byteOffset,
      target.buffer,
      to.byteOffset,
      from.bytes,
    );
  }

  /**
   * Workgroups of a shader that shares rows among its teams (shaders/rows.wgsl). Teams that are
   * subgroups are taken to have 32 threads. Larger or smaller ones need fewer or more turns.
   */
  rowGroups(rows: number): number {
    return Math.min(Stream.mostGroups, this.gpu.hasSubgroups ? Math.ceil(rows / 4) : rows);
  }

  /** Copies bytes from and to any place, leaving their neighbours in a word alone. */
  private copyBytes(from: GpuTensor, to: GpuTensor): void {
    const bytes = (tensor: GpuTensor) =>
      new GpuTensor(tensor.storage, "u8", [tensor.bytes], tensor.byteOffset, undefined, undefined);
    this.dispatch({
      shader: "copy",
      operands: [bytes(from), bytes(to)],
      parameters: [to.bytes],
      groups: gridOf(to.bytes / 4 + 1, 256),
    });
  }

  /** A copy of the elements as they are after everything that was asked for before. */
  async read(tensor: GpuTensor): Promise<TensorData> {
    tensor.requireLive();
    this.requireWorking();
    const ArrayType = ARRAYS[tensor.dtype];
    if (tensor.size === 0) return new ArrayType(0);
    const block = tensor.storage;
    const start = tensor.byteOffset - (tensor.byteOffset % 4);
    const size = roundUp(tensor.byteOffset + tensor.bytes, 4) - start;
    const staging = this.gpu.device.createBuffer({ size, usage: GPU_MAP_READ | GPU_COPY_DST });
    this.commands(block).copyBufferToBuffer(block.buffer, start, staging, 0, size);
    this.submit();
    try {
      await staging.mapAsync(GPU_MAP_READ);
    } catch (cause) {
      await awaitLoss(this.gpu);
      requireWorking(this.gpu);
      throw new DeviceError("a result could not be read back; use `backend: wasm`.", { cause });
    }
    const from = tensor.byteOffset - start;
    const bytes = staging.getMappedRange().slice(from, from + tensor.bytes);
    staging.destroy();
    if (this.gpu.compiling.size > 0) await Promise.all(this.gpu.compiling);
    this.requireWorking();
    return new ArrayType(bytes);
  }

  dispose(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.pass?.end();
    this.encoder = undefined;
    this.pool.dispose();
    this.ring.dispose();
  }
}

/** Threads of a workgroup that goes over a row of `length` elements together. */
export function widthFor(length: number): 64 | 256 {
  return length > 512 ? 256 : 64;
}

/** Workgroups for `count` threads, `width` a group: a second dimension takes what one cannot. */
export function gridOf(count: number, width: number): [number, number] {
  const groups = Math.ceil(count / width);
  const x = Math.min(groups, 65535);
  return [x, x === 0 ? 0 : Math.ceil(groups / x)];
}
