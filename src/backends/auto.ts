/**
 * What `auto` does. It takes WebGPU when all of this holds, and wasm otherwise:
 *
 * 1. The largest weight that one product reads has at least 2^20 elements (1024 x 1024). Below that
 *    wasm has its result in the time that a GPU needs to be given work and to answer.
 * 2. The runtime has WebGPU with an adapter that does not compute on the CPU.
 * 3. The adapter passes the self-test.
 *
 * When a GPU that `auto` chose fails later, the work goes on on wasm (lease.ts).
 */
import type { Backend } from "../backend.js";
import { DeviceError } from "../errors.js";
import type { WasmOptions } from "./wasm/options.js";
import { openWasm } from "./wasm.js";
import type { WebGpuOptions } from "./webgpu.js";

/** What `auto` goes by. Mutable, so that tests see what becomes of a choice that a machine lacks. */
export const policy = {
  /** A GPU is worth it for weights of this many elements or more. */
  worthElements: 2 ** 20,
  // Loaded when first asked for, as in index.ts.
  openGpu: async (options: WebGpuOptions) => (await import("./webgpu.js")).openWebGpu(options),
};

/** What `auto` looks at of the work to be done. */
export interface Workload {
  /** Elements of the largest weight that one product reads. @default enough for a GPU */
  readonly largestWeight?: number | undefined;
}

/** A backend, and why it is this one. */
export interface Choice {
  readonly backend: Backend;
  /** For `explain`. */
  readonly reason: string;
  /** A sentence for the user, where a GPU would have been worth it but cannot be used. */
  readonly note?: string | undefined;
}

/** Opens the backend that suits the work and the machine. */
export async function openAuto(
  { largestWeight }: Workload = {},
  wasm: WasmOptions = {},
): Promise<Choice> {
  const { worthElements, openGpu } = policy;
  if (largestWeight !== undefined && largestWeight < worthElements) {
    const reason = `auto: no weight has the ${worthElements} elements that make a GPU worth it`;
    return { backend: await openWasm(wasm), reason };
  }
  try {
    const backend = await openGpu({ hardwareOnly: true });
    return { backend, reason: "auto: a GPU is there, and the weights are large enough for it" };
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    const [cause] = error.bare.split(";");
    const note = `auto takes wasm: ${error.bare}`;
    return { backend: await openWasm(wasm), reason: `auto: ${cause.replace(/\.$/, "")}`, note };
  }
}
