import { checkArguments, NUMBER, TEXT } from "./arguments.js";
import type { OpenBackend } from "./backend.js";
import type { Workload } from "./backends/auto.js";
import { type BackendName, openBackend as open } from "./backends/index.js";
import { WASM_ARGUMENTS, type WasmOptions } from "./backends/wasm/options.js";

/** What "auto" looks at, and how wasm runs. */
export interface OpenBackendOptions extends Workload, WasmOptions {}

/**
 * Opens a backend, for several calls that take it as `backend`. The caller disposes it.
 *
 * @param name @default "auto"
 * @param options @default for a large model, on all cores
 * @throws PenjingError for an unknown name, or when a named backend cannot run here
 */
export async function openBackend(
  name: BackendName = "auto",
  options: OpenBackendOptions = {},
): Promise<OpenBackend> {
  checkArguments("openBackend", { name }, { name: TEXT });
  checkArguments("openBackend", options, { largestWeight: NUMBER, ...WASM_ARGUMENTS });
  return open(name, options);
}
