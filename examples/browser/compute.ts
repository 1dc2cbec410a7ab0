/** Which backend the work runs on, and why. */
import { type Backend, DeviceError, openAuto, openBackend, PenjingError } from "penjing";
import type { ComputeChoice } from "./messages.js";

export interface Compute {
  readonly backend: Backend;
  /** One sentence for the page. */
  readonly text: string;
}

/** Why WebGPU is not what "auto" takes here; undefined when it is. */
export async function whyNotGpu(): Promise<string | undefined> {
  if (!globalThis.isSecureContext) return "browsers give WebGPU to https and localhost only";
  const { gpu } = navigator;
  if (!gpu) return "this browser has no WebGPU";
  const adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter) return "WebGPU finds no graphics adapter here";
  if (adapter.info.isFallbackAdapter) {
    return "the only graphics adapter is software, which is slower";
  }
  return undefined;
}

export function wasmBecause(reason: string): string {
  return `Runs on WebAssembly: ${reason}.`;
}

/** The reason that an error gives, without the brackets of its place and the dot at its end. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/^\[[^\]]*\] /, "").replace(/\.$/, "");
}

async function openWasm(reason: string): Promise<Compute> {
  return { backend: await openBackend("wasm"), text: wasmBecause(reason) };
}

/**
 * Opens the backend that was asked for; "auto" decides by penjing's own rule.
 *
 * @param largestWeight elements of the largest weight of the model's blocks
 * @throws PenjingError when WebGPU was asked for and does not run here
 */
export async function openCompute(choice: ComputeChoice, largestWeight: number): Promise<Compute> {
  if (choice === "wasm") return openWasm("you chose it");
  if (choice === "auto") {
    const reason = await whyNotGpu();
    if (reason !== undefined) return openWasm(reason);
    const { backend, reason: why } = await openAuto({ largestWeight });
    const name = backend.name === "webgpu" ? "WebGPU" : "WebAssembly";
    return { backend, text: `Runs on ${name}: ${why.replace(/^auto: /, "")}.` };
  }
  try {
    const backend = await openBackend("webgpu");
    return { backend, text: "Runs on WebGPU: you chose it." };
  } catch (error) {
    const why = (await whyNotGpu()) ?? reasonOf(error);
    throw new PenjingError("WebGPU", `${why}; choose WebAssembly or Automatic instead.`);
  }
}

/** Whether the GPU itself failed, so that the same work may succeed without it. */
export function isGpuFault(error: unknown, { backend }: Compute): boolean {
  return error instanceof DeviceError && backend.name === "webgpu";
}

/** Goes on without the GPU that failed. */
export function leaveGpu(error: unknown): Promise<Compute> {
  return openWasm(`the GPU failed (${reasonOf(error)})`);
}
