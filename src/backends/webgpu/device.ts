import { DeviceError } from "../../errors.js";
import { loadDawn } from "../../platform/node-modules.js";

/** An opened GPU: shared by all backends on it, for compiling pipelines takes long. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly limits: GPUSupportedLimits;
  /** Bytes of a buffer that one shader can be given, at most. */
  readonly mostBound: number;
  readonly hasSubgroups: boolean;
  /** Whether shaders may compute with f16; others unpack it from words. */
  readonly hasHalf: boolean;
  /** Whether WGSL multiplies four int8 of a word at once; shaders take them apart otherwise. */
  readonly hasDot4: boolean;
  /** Vendor, architecture and name, as far as the adapter tells. */
  readonly adapterName: string;
  /** Whether it computes on the CPU. */
  readonly isSoftware: boolean;
  /** Why the device is gone; undefined while it works. */
  lost: string | undefined;
  /** What the device said about work that was queued without an answer. */
  readonly errors: DeviceError[];
  /** Compilations whose errors are not known yet. */
  readonly compiling: Set<Promise<void>>;
}

const WANTED_FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const;

/** What a language may have, which is no feature of adapters. */
const DOT4 = "packed_4x8_integer_dot_product";

const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
] as const;

const CURE = "use `backend: wasm`, or install a graphics driver and, in Node, the package webgpu";

/** A lost device says so within this many milliseconds of refusing work. */
const LOSS_MS = 500;

/** Dawn frees its instance with the object that stands for it, so one is kept. */
let dawn: GPU | undefined;

/** The runtime's own WebGPU, or that of the optional package `webgpu`. */
export async function findGpu(): Promise<GPU> {
  const own = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
  if (own) return own;
  if (dawn) return dawn;
  try {
    dawn = await loadDawn();
    return dawn;
  } catch (cause) {
    throw new DeviceError(`this runtime has no WebGPU; ${CURE}.`, { cause });
  }
}

/** Vendor, architecture and name, as far as the adapter tells. */
export function nameOf({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  const parts = [vendor, architecture, description || device].filter((part) => part);
  return [...new Set(parts)].join(" ") || "unnamed adapter";
}

/** Whether an adapter computes on the CPU: drivers that say so, and those that are known to. */
export function isSoftware(info: GPUAdapterInfo): boolean {
  const software = /swiftshader|llvmpipe|lavapipe|software|basic render|\bcpu\b/i;
  return info.isFallbackAdapter === true || software.test(nameOf(info));
}

export interface DeviceOptions {
  /** Features that are left alone although the adapter has them. @default none */
  readonly avoid?: readonly string[] | undefined;
  /** Refuse adapters that compute on the CPU. @default false */
  readonly hardwareOnly?: boolean | undefined;
  /** Bytes of a buffer that are bound at once, at most. @default what the adapter allows */
  readonly mostBound?: number | undefined;
}

/**
 * Requests an adapter and a device with the adapter's own limits and what it has of the features
 * that shaders can use.
 *
 * @throws DeviceError when there is no adapter, it is not wanted, or it gives no device
 */
export async function openDevice(
  source: GPU,
  { avoid = [], hardwareOnly = false, mostBound = Number.POSITIVE_INFINITY }: DeviceOptions = {},
): Promise<Gpu> {
  let adapter: GPUAdapter | null = null;
  let device: GPUDevice;
  try {
    adapter = await source.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) throw new Error("none");
    if (hardwareOnly && isSoftware(adapter.info)) {
      const name = nameOf(adapter.info);
      throw new DeviceError(`${name} computes on the CPU, where wasm is faster.`);
    }
    const { features, limits } = adapter;
    device = await adapter.requestDevice({
      requiredFeatures: WANTED_FEATURES.filter(
        (feature) => features.has(feature) && !avoid.includes(feature),
      ),
      requiredLimits: Object.fromEntries(WANTED_LIMITS.map((name) => [name, limits[name]])),
    });
  } catch (cause) {
    if (cause instanceof DeviceError) throw cause;
    const what = adapter ? `${nameOf(adapter.info)} gives no device` : "there is no GPU adapter";
    throw new DeviceError(`${what}; ${CURE}.`, { cause });
  }
  const gpu: Gpu = {
    device,
    limits: device.limits,
    mostBound: Math.min(device.limits.maxStorageBufferBindingSize, mostBound),
    hasSubgroups: device.features.has("subgroups"),
    hasHalf: device.features.has("shader-f16"),
    // Older runtimes do not tell.
    hasDot4: source.wgslLanguageFeatures?.has(DOT4) === true && !avoid.includes(DOT4),
    adapterName: nameOf(adapter.info),
    isSoftware: isSoftware(adapter.info),
    lost: undefined,
    errors: [],
    compiling: new Set(),
  };
  void device.lost.then(({ message, reason }) => {
    gpu.lost = message || reason;
  });
  device.addEventListener("uncapturederror", (event) => {
    // Told by whoever reads next, so not on the console as well.
    event.preventDefault();
    gpu.errors.push(errorOf(gpu, event.error));
  });
  return gpu;
}

function errorOf({ adapterName }: Gpu, error: GPUError): DeviceError {
  const [first] = error.message.split("\n");
  // Node has no global of that name to compare with.
  if (error.constructor.name === "GPUOutOfMemoryError") {
    return new DeviceError(
      `${adapterName} has no memory left (${first}); use shorter samples or windows, or \`backend: wasm\`.`,
    );
  }
  return new DeviceError(`${adapterName} refused its work: ${first}`);
}

/** Lets the news of a loss arrive: work is refused before the reason is known. */
export async function awaitLoss({ device }: Gpu): Promise<void> {
  const late = new Promise((resolve) => setTimeout(resolve, LOSS_MS));
  await Promise.race([device.lost, late]);
}

/** Throws when the device is gone, or refused work since the last call. */
export function requireWorking(gpu: Gpu): void {
  if (gpu.lost !== undefined) {
    throw new DeviceError(
      `the device ${gpu.adapterName} was lost (${gpu.lost}); run the command again, or use \`backend: wasm\`.`,
    );
  }
  const error = gpu.errors[0];
  gpu.errors.length = 0;
  if (error) throw error;
}
