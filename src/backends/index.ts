import type { Backend } from "../backend.js";
import { nearest, PenjingError } from "../errors.js";
import { openReference } from "./reference.js";
import { openWasm } from "./wasm.js";

/** How to open each backend, by name; `auto` is not one of them. */
export const backends: Readonly<Record<string, () => Promise<Backend>>> = {
  reference: openReference,
  wasm: openWasm,
  // Loaded when first opened: with its shaders it is a chunk of its own in the portable bundle.
  webgpu: async () => (await import("./webgpu.js")).openWebGpu(),
};

/**
 * Opens a backend by name.
 *
 * @param name "auto" (wasm: a GPU is used only when asked for), "webgpu", "wasm" or "reference". @default "auto"
 * @throws PenjingError for an unknown name, or when a named backend cannot run here
 */
export async function openBackend(name = "auto"): Promise<Backend> {
  if (name === "auto") return openWasm();
  const open = Object.hasOwn(backends, name) ? backends[name] : undefined;
  if (!open) {
    const valid = ["auto", ...Object.keys(backends)];
    const near = nearest(name, valid);
    throw new PenjingError(
      "--backend",
      `"${name}" is not a backend${near ? `; did you mean "${near}"?` : "."} Valid: ${valid.join(", ")}.`,
    );
  }
  return open();
}
