import { PenjingError } from "../../errors.js";
import { loadDawn } from "../../platform/node-modules.js";

/** An opened GPU: shared by all backends on it, for compiling pipelines takes long. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly limits: GPUSupportedLimits;
  readonly hasSubgroups: boolean;
  /** Vendor, architecture and name, as far as the adapter tells. */
  readonly adapterName: string;
  /** Why the device is gone; undefined while it works. */
  lost: string | undefined;
  /** What the device said about work that was queued without an answer. */
  readonly errors: PenjingError[];
  /** Compilations whose errors are not known yet. */
  readonly compiling: Set<Promise<void>>;
}

const WANTED_FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const;

const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
] as const;

const CURE = "use --backend wasm, or install a graphics driver and, in Node, the package webgpu";

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
    throw new PenjingError("webgpu", `this runtime has no WebGPU; ${CURE}.`, { cause });
  }
}

function nameOf({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  const parts = [vendor, architecture, description || device].filter((part) => part);
  return [...new Set(parts)].join(" ") || "unnamed adapter";
}

/**
 * Requests an adapter and a device with the adapter's own limits and what it has of the features
 * that shaders can use.
 *
 * @param avoid features that are left alone although they are there
 * @throws PenjingError when there is no adapter, or it gives no device
 */
export async function openDevice(source: GPU, avoid: readonly string[] = []): Promise<Gpu> {
  let adapter: GPUAdapter | null = null;
  let device: GPUDevice;
  try {
    adapter = await source.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) throw new Error("none");
    const { features, limits } = adapter;
    device = await adapter.requestDevice({
      requiredFeatures: WANTED_FEATURES.filter(
        (feature) => features.has(feature) && !avoid.includes(feature),
      ),
      requiredLimits: Object.fromEntries(WANTED_LIMITS.map((name) => [name, limits[name]])),
    });
  } catch (cause) {
    const what = adapter ? `${nameOf(adapter.info)} gives no device` : "there is no GPU adapter";
    throw new PenjingError("webgpu", `${what}; ${CURE}.`, { cause });
  }
  const gpu: Gpu = {
    device,
    limits: device.limits,
    hasSubgroups: device.features.has("subgroups"),
    adapterName: nameOf(adapter.info),
    lost: undefined,
    errors: [],
    compiling: new Set(),
  };
  void device.lost.then(({ message, reason }) => {
    gpu.lost = message || reason;
  });
  device.addEventListener("uncapturederror", ({ error }) => {
    gpu.errors.push(errorOf(gpu, error));
  });
  return gpu;
}

function errorOf({ adapterName }: Gpu, error: GPUError): PenjingError {
  const [first] = error.message.split("\n");
  // Node has no global of that name to compare with.
  if (error.constructor.name === "GPUOutOfMemoryError") {
    return new PenjingError(
      "webgpu",
      `${adapterName} has no memory left (${first}); use fewer or shorter samples, or --backend wasm.`,
    );
  }
  return new PenjingError("webgpu", `${adapterName} refused its work: ${first}`);
}

/** Throws when the device is gone, or refused work since the last call. */
export function requireWorking(gpu: Gpu): void {
  if (gpu.lost !== undefined) {
    throw new PenjingError(
      "webgpu",
      `the device ${gpu.adapterName} was lost (${gpu.lost}); run the command again, or use --backend wasm.`,
    );
  }
  const error = gpu.errors[0];
  gpu.errors.length = 0;
  if (error) throw error;
}
