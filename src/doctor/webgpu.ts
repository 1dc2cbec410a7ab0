import { DeviceError } from "../errors.js";
import { hasPackage } from "../platform/node-modules.js";
import { describeSystem } from "../platform/system.js";
import { orAborted } from "../run.js";
import type { WebGpuFinding } from "./options.js";

interface Source {
  /** Where adapters are asked for. @default the runtime's own, else the package webgpu */
  readonly gpu?: GPU | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What there is of WebGPU. Nothing is thrown but the signal's reason. */
export async function webGpuFinding({ gpu, signal }: Source): Promise<WebGpuFinding> {
  const { examineGpu } = await import("../backends/webgpu.js");
  try {
    const { failure, ...facts } = await orAborted(examineGpu(gpu), signal);
    if (failure) {
      const [reason, cure] = split(failure.bare);
      return { mark: "fault", cure, passed: false, reason, ...facts };
    }
    if (!facts.isSoftware) return { mark: "ok", passed: true, ...facts };
    const cure =
      "wasm is faster, and `backend: auto` takes it; if there is a GPU, install the driver of its maker.";
    return { mark: "note", cure, passed: true, ...facts };
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    const [reason] = split(error.bare);
    return { mark: "note", cure: cureOf(error), reason };
  }
}

/** A message's parts before and after its semicolon. */
function split(message: string): [what: string, cure: string] {
  const [what, ...cure] = message.split("; ");
  return [what.replace(/\.$/, ""), cure.join("; ")];
}

/** What to do where there is no adapter. */
function cureOf({ cause, message }: DeviceError): string {
  const without = "without one wasm does the work";
  if (!/no WebGPU/.test(message)) {
    const isLinux = /^linux/.test(describeSystem().os);
    const driver = isLinux
      ? "Vulkan driver of the GPU's maker, or mesa-vulkan-drivers"
      : "GPU's driver";
    return `if there is a GPU, install the ${driver}; ${without}.`;
  }
  if (!hasPackage("webgpu")) {
    return `in Node and Bun, \`npm install webgpu\` beside penjing; a browser needs a secure context (https or localhost); ${without}.`;
  }
  const reason = cause instanceof Error ? cause.message.split("\n")[0] : "no reason given";
  return `the package webgpu is installed but cannot be loaded (${reason}); install it anew, or ${without}.`;
}
