/** What the page says of where the work runs: penjing itself chooses and, when a GPU fails, moves. */
import { type BackendOptions, DeviceError, PenjingError, type ServedOperation } from "penjing";
import type { ComputeChoice } from "./messages.js";

/** What penjing is asked for. */
export function backendOf(choice: ComputeChoice): BackendOptions {
  return choice === "exact" ? { backend: "wasm", simd: "baseline" } : { backend: choice };
}

/** Why WebGPU is not what "auto" takes here; undefined when it may be. */
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

/** One sentence about what served the last of some work, and why. */
export function whereItRan(served: readonly ServedOperation[]): string {
  const { servedBy, reason = "" } = served[served.length - 1];
  const why = reason === "asked for" ? "you chose it" : reason.replace(/^auto: /, "");
  return servedBy === "webgpu" ? `Runs on WebGPU: ${why}.` : wasmBecause(why);
}

/** The error as the page says it: its cure is on the page, not on a command line. */
export async function explainFailure(error: unknown): Promise<unknown> {
  if (!(error instanceof DeviceError)) return error;
  const why = (await whyNotGpu()) ?? error.bare.split(";")[0].replace(/\.$/, "");
  return new PenjingError("WebGPU", `${why}; choose WebAssembly or Automatic instead.`, {
    cause: error,
  });
}
