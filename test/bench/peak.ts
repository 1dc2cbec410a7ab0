import { kernelModule, type Simd } from "../../src/backends/wasm/module.js";

/** The register-only rate of multiply-adds, which every kernel's rate is divided by. */
export interface Peak {
  /** Runs `operations` f32 operations on registers alone. */
  run(): void;
  readonly operations: number;
  /**
   * A product of small matrices within the caches, about half a millisecond: unlike the peak it needs
   * all that a core can issue, and so shows when another program has a share of the core.
   */
  gauge(): void;
}

const GAUGE_TRIALS = 10;
/** Address of its operands, zeros. */
const GAUGE_AT = 1 << 20;

/** Loads the peak kernel, in an instance of its own. */
export async function openPeak(simd: Simd = "baseline"): Promise<Peak> {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536 });
  const env = { memory, abort: () => {} };
  const instance = await WebAssembly.instantiate(await kernelModule(simd, false), { env });
  const mulAdd = instance.exports.peakMulAdd as (n: number, f: number, t: number) => number;
  const perIteration = (instance.exports.PEAK_OPERATIONS as WebAssembly.Global).value as number;
  const iterations = 200_000;
  const trial = instance.exports.gemmTrial as (at: number) => void;
  return {
    run: () => void mulAdd(iterations, 0.9, 0.1),
    operations: iterations * perIteration,
    gauge: () => {
      for (let i = 0; i < GAUGE_TRIALS; i++) trial(GAUGE_AT);
    },
  };
}
