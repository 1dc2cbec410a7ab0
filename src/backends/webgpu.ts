/**
 * The WebGPU backend. Tensors stay in GPU buffers from operation to operation; JavaScript sees
 * elements only through `read`. Operations return once encoded into a command encoder, which is
 * submitted when something is read, or after some hundreds of dispatches. Operations have their shaders
 * (shaders/*.wgsl), but for a few that the reference computes on copies.
 */
import type { Backend, MemoryUse, ServedOperation, TransferName } from "../backend.js";
import { DeviceError, PenjingError } from "../errors.js";
import { colsOf, type Tensor, type TensorData, type TensorDType } from "../tensor.js";
import { formOperations } from "./forms.js";
import { dtypeOf, requireFill, requireRows } from "./host.js";
import { refuseCall } from "./plugged.js";
import { joinOperations, type OperationTable } from "./table.js";
import { blocksClaim } from "./webgpu/block-diagonal.js";
import type { GpuTensor } from "./webgpu/buffers.js";
import { denseClaim, plain } from "./webgpu/dense.js";
import { findGpu, type Gpu, openDevice, requireWorking } from "./webgpu/device.js";
import { gridClaim } from "./webgpu/grid.js";
import * as parts from "./webgpu/index.js";
import { integerClaim } from "./webgpu/integer.js";
import { onHost, WITHOUT_SHADER } from "./webgpu/on-host.js";
import { Pipelines } from "./webgpu/pipelines.js";
import { selfTest } from "./webgpu/self-test.js";
import { Stream } from "./webgpu/stream.js";
import { byStretches } from "./webgpu/stretches.js";
import { twoFourClaim } from "./webgpu/two-four.js";

/** What was copied to the device, or from it. */
interface Transfer {
  calls: number;
  copiedBytes: number;
}

class WebGpuBackend implements Backend {
  readonly name = "webgpu";
  readonly arithmetic = "";
  readonly halfFormats = ["f16"] as const;
  readonly runsAtOnce = false;
  readonly call = refuseCall;
  readonly ops;
  private readonly stream: Stream;
  private readonly table: OperationTable;
  private readonly transfers: Readonly<Record<TransferName, Transfer>> = {
    upload: { calls: 0, copiedBytes: 0 },
    read: { calls: 0, copiedBytes: 0 },
  };

  constructor(gpu: Gpu, pipelines: Pipelines) {
    this.stream = new Stream(gpu, pipelines);
    const whole = Object.assign({}, ...Object.values(parts).map((bind) => bind(this.stream)));
    const operations = byStretches(this.stream, whole);
    const claims = [twoFourClaim, integerClaim, gridClaim, denseClaim, blocksClaim];
    const forms = formOperations(
      {
        name: this.name,
        claims: claims.map((claim) => claim(this.stream)),
        plain: (weight) => plain(this.stream, weight as GpuTensor),
        scratch: (shape) => this.stream.allocate(shape, "f32"),
        hasCache: false,
      },
      () => this,
    );
    this.table = joinOperations([
      { name: "reference", operations: onHost(() => this), reason: WITHOUT_SHADER },
      { name: "webgpu", operations: { ...operations, ...forms } },
    ]);
    this.ops = this.table.ops;
  }

  zeros(shape: readonly number[], dtype: TensorDType = "f32"): Tensor {
    return this.stream.allocate(shape, dtype, { zeroed: true, mirrored: true });
  }

  upload(data: TensorData, shape: readonly number[]): Tensor {
    const tensor = this.stream.allocate(shape, dtypeOf(data), { mirrored: true });
    this.write(tensor, data);
    return tensor;
  }

  write(tensor: Tensor, data: TensorData): void {
    requireFill(tensor, data);
    this.stream.write(tensor as GpuTensor, data);
    this.count("upload", data);
  }

  async read(tensor: Tensor): Promise<TensorData> {
    const data = await this.stream.read(tensor as GpuTensor);
    this.count("read", data);
    return data;
  }

  private count(name: TransferName, { byteLength }: TensorData): void {
    const transfer = this.transfers[name];
    transfer.calls++;
    transfer.copiedBytes += byteLength;
  }

  rows(tensor: Tensor, start: number, count: number, cols = colsOf(tensor)): Tensor {
    requireRows(tensor, start, count, cols);
    return (tensor as GpuTensor).view([count, cols], start * cols);
  }

  copy(from: Tensor, to: Tensor): void {
    if (from.size !== to.size || from.dtype !== to.dtype) {
      throw new PenjingError(
        "tensor",
        `[${from.shape}] of ${from.dtype} does not fill [${to.shape}] of ${to.dtype}.`,
      );
    }
    this.stream.copy(from as GpuTensor, to as GpuTensor);
  }

  served(): readonly ServedOperation[] {
    const transfers = Object.entries(this.transfers) as [TransferName, Transfer][];
    const moved = transfers.filter(([, { calls }]) => calls > 0);
    const lines = moved.map(([operation, count]) => ({ operation, servedBy: this.name, ...count }));
    return [...this.table.served(), ...lines];
  }

  memory(): MemoryUse {
    return this.stream.meter.read();
  }

  dispose(): void {
    this.stream.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** What backends share: the device and its compiled shaders. */
interface Opened {
  readonly gpu: Gpu;
  readonly pipelines: Pipelines;
}

/** Devices that passed the self-test, which backends share; they end with the process. */
const devices = new WeakMap<GPU, Map<string, Promise<Opened>>>();

async function openTested(
  source: GPU,
  { isTrusted = false, ...options }: Omit<WebGpuOptions, "gpu">,
): Promise<Opened> {
  const gpu = await openDevice(source, options);
  const pipelines = new Pipelines(gpu);
  if (isTrusted) return { gpu, pipelines };
  try {
    await testDevice(gpu, pipelines);
  } catch (error) {
    gpu.device.destroy();
    throw error;
  }
  return { gpu, pipelines };
}

async function testDevice(gpu: Gpu, pipelines: Pipelines): Promise<void> {
  const backend = new WebGpuBackend(gpu, pipelines);
  await selfTest(backend, gpu.adapterName);
  backend.dispose();
}

/** What an adapter is, and whether it can be relied on. */
export interface GpuFacts {
  /** Vendor, architecture and name. */
  readonly adapter: string;
  /** Whether it computes on the CPU. */
  readonly isSoftware: boolean;
  /** Bytes of its largest buffer. */
  readonly maxBufferBytes: number;
  /** Bytes of a buffer that one shader can be given. */
  readonly maxBindingBytes: number;
  /** Why it failed the self-test; undefined where it passed. */
  readonly failure?: DeviceError | undefined;
}

/**
 * Looks at the adapter that the runtime prefers, and tests it.
 *
 * @param source where adapters are asked for. @default navigator.gpu, else the package webgpu
 * @throws DeviceError when there is no WebGPU, no adapter, or it gives no device
 */
export async function examineGpu(source?: GPU): Promise<GpuFacts> {
  const gpu = await openDevice(source ?? (await findGpu()));
  const { adapterName: adapter, isSoftware, limits, mostBound: maxBindingBytes } = gpu;
  const facts = { adapter, isSoftware, maxBufferBytes: limits.maxBufferSize, maxBindingBytes };
  try {
    await testDevice(gpu, new Pipelines(gpu));
    return facts;
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return { ...facts, failure: error };
  } finally {
    gpu.device.destroy();
  }
}

export interface WebGpuOptions {
  /** Where adapters are asked for. @default navigator.gpu, else the package webgpu */
  readonly gpu?: GPU | undefined;
  /** Features of the adapter, or of WGSL, that are not used although they are there. @default none */
  readonly avoid?:
    | readonly ("subgroups" | "shader-f16" | "timestamp-query" | "packed_4x8_integer_dot_product")[]
    | undefined;
  /** Refuse adapters that compute on the CPU. @default false */
  readonly hardwareOnly?: boolean | undefined;
  /**
   * Bytes of a buffer that one shader is given at most; larger matrices are gone through in
   * stretches of rows. @default what the adapter allows
   */
  readonly mostBound?: number | undefined;
  /**
   * Leave out the test of small products, whose shaders take a software adapter seconds to compile:
   * for who checks what the device computes in another way. @default false
   */
  readonly isTrusted?: boolean | undefined;
}

/**
 * Opens the WebGPU backend on the adapter that the runtime prefers, after it has shown that it
 * computes small products right: dense, packed, and of codes by int8 activations.
 *
 * @throws DeviceError when there is no WebGPU or no adapter, or it fails the test
 */
export async function openWebGpu({ gpu, ...options }: WebGpuOptions = {}): Promise<Backend> {
  const source = gpu ?? (await findGpu());
  const known = devices.get(source) ?? new Map<string, Promise<Opened>>();
  devices.set(source, known);
  const { avoid = [], mostBound, isTrusted } = options;
  const key = JSON.stringify([[...avoid].sort(), mostBound, isTrusted]);
  const before = await known.get(key)?.catch(() => undefined);
  const isWanted = !(options.hardwareOnly && before?.gpu.isSoftware);
  if (before && isWanted && before.gpu.lost === undefined) {
    return new WebGpuBackend(before.gpu, before.pipelines);
  }
  const opening = openTested(source, options);
  known.set(key, opening);
  const opened = await opening;
  requireWorking(opened.gpu);
  return new WebGpuBackend(opened.gpu, opened.pipelines);
}
