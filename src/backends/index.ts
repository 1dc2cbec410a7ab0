import type { Backend } from "../backend.js";
import { nearest, PenjingError } from "../errors.js";
import { openAuto, type Workload } from "./auto.js";
import { checkWasmOptions, type WasmOptions } from "./wasm/options.js";
import { openWasm } from "./wasm.js";

/** The backends. "auto" is WebGPU where the machine has a GPU and the work is large enough, else wasm. */
export type BackendName = "auto" | "webgpu" | "wasm" | "reference";

type Open = (options?: WasmOptions) => Promise<Backend>;

/** How to open each backend, by name; `auto` is not one of them. */
export const backends: Readonly<Record<string, Open>> = {
  // Loaded when first opened: chunks of their own in the portable bundle, WebGPU's with its shaders.
  reference: async () => (await import("./reference.js")).openReference(),
  wasm: openWasm,
  webgpu: async () => (await import("./webgpu.js")).openWebGpu(),
} satisfies Record<Exclude<BackendName, "auto">, Open>;

/**
 * Opens a backend by name.
 *
 * @param name "auto", "webgpu", "wasm" or "reference". @default "auto": WebGPU where the machine has
 *   a GPU and the work is large enough for one, else wasm
 * @param options what "auto" looks at, and how wasm runs. @default a large model, all cores
 * @throws PenjingError for an unknown name, or when a named backend cannot run here
 */
export async function openBackend(
  name = "auto",
  options: Workload & WasmOptions = {},
): Promise<Backend> {
  checkWasmOptions(options);
  if (name === "auto") return (await openAuto(options, options)).backend;
  const open = Object.hasOwn(backends, name) ? backends[name] : undefined;
  if (!open) {
    const valid = ["auto", ...Object.keys(backends)];
    const near = nearest(name, valid);
    throw new PenjingError(
      "backend",
      `"${name}" is not a backend${near ? `; did you mean "${near}"?` : "."} Valid: ${valid.join(", ")}.`,
    );
  }
  return open(options);
}
