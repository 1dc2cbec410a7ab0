import type { Backend } from "../backend.js";
import { productRate } from "../backends/product-rate.js";
import { hasRelaxedSimd, type Simd } from "../backends/wasm/module.js";
import { openWasm, threadsOf } from "../backends/wasm.js";
import { PenjingError } from "../errors.js";
import { loadThreading } from "../platform/node-modules.js";
import { describeSystem } from "../platform/system.js";
import type { SimdFinding, SpeedFinding } from "./options.js";

/** The kernels, open where they can be. */
export interface OpenedKernels {
  /** Threads by default. */
  readonly threads: number;
  /** Cores that this process may use; undefined where nobody tells. */
  readonly cores: number | undefined;
  readonly finding: SimdFinding;
  /** Measures them; undefined where there are none, or no clock to measure by. */
  speed(signal: AbortSignal | undefined): Promise<SpeedFinding | undefined>;
  close(): void;
}

/** Opens the kernels as every call does that is not told how. */
export async function openKernels(): Promise<OpenedKernels> {
  const threading = await loadThreading();
  const sharedMemory = threading !== undefined;
  const cores = threading?.cores ?? describeSystem().cores;
  let backend: Backend;
  try {
    backend = await openWasm();
  } catch (error) {
    if (!(error instanceof PenjingError)) throw error;
    return {
      ...{ threads: 1, cores },
      finding: {
        ...{ mark: "fault", sharedMemory },
        cure: "take Node 20 or newer, Deno, Bun or a browser of 2022 or later, on a processor with SSE4.1 or NEON, and without flags that switch WebAssembly off.",
      },
      async speed() {
        return undefined;
      },
      close() {},
    };
  }
  const simd: Simd = backend.arithmetic.startsWith("relaxed") ? "relaxed" : "baseline";
  return {
    ...{ threads: threadsOf("auto", threading), cores },
    finding: findingOf(simd, sharedMemory),
    async speed(signal) {
      const rate = await productRate(backend, { signal });
      const how = backend.served().find((line) => line.how !== undefined)?.how;
      return rate === undefined ? undefined : { mark: "ok", flops: 2 * rate, how };
    },
    close: () => backend.dispose(),
  };
}

function findingOf(simd: Simd, sharedMemory: boolean): SimdFinding {
  const facts = { simd, sharedMemory };
  if (!sharedMemory) {
    const cure =
      "a page has threads when it is sent with the headers COOP and COEP; workers of workerd have none, and Node, Deno and Bun always do.";
    return { mark: "note", cure, ...facts };
  }
  if (simd === "baseline") {
    const cure = hasRelaxedSimd()
      ? "give the kernels with relaxed SIMD beside the others, which are faster."
      : "a runtime with relaxed SIMD (Node 22 or newer, Deno, Bun, Chrome 114, Firefox 145) multiplies faster.";
    return { mark: "note", cure, ...facts };
  }
  return { mark: "ok", ...facts };
}
