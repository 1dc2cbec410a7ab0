// Measures the WebGPU backend on the adapter that the runtime prefers: npm run bench:gpu. As
// build/bench/gpu.js it is one file that needs nothing but Node and the package `webgpu`, or Deno.
// Usage: node build/bench/gpu.js [--quick] [--codes]
// With --codes only products with codes on grids are measured, and held against the reference.
import { findGpu, nameOf } from "../../../src/backends/webgpu/device.js";
import { openWebGpu } from "../../../src/backends/webgpu.js";
import { PenjingError } from "../../../src/errors.js";
import { type Figure, table } from "../figures.js";
import { type CodesPlan, codes, judgeCodes } from "./codes.js";
import { decode, type ModelSize } from "./decode.js";
import { copyBandwidth, products } from "./products.js";

const MIB = 2 ** 20;

interface Plan {
  readonly copyBytes: number;
  readonly gemm: readonly (readonly [n: number, tokens: number])[];
  readonly gemv: readonly number[];
  /** Bytes of dense weights that a GEMV goes through before the same come again. */
  readonly weightBytes: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly model: ModelSize;
  readonly codes: Omit<CodesPlan, "clock">;
}

const FULL: Plan = {
  copyBytes: 512 * MIB,
  gemm: [
    [1024, 1024],
    [4096, 64],
    [4096, 512],
    [4096, 4096],
  ],
  gemv: [2048, 4096],
  weightBytes: 512 * MIB,
  ...{ seconds: 0.2, rounds: 7 },
  model: { hiddenSize: 2048, intermediateSize: 8192, layers: 16, vocabSize: 32_000, tokens: 64 },
  codes: {
    shapes: [
      [4096, 4096],
      [4096, 11_008],
    ],
    tokens: 512,
    weightBytes: 256 * MIB,
  },
};

/** For software adapters: whether everything runs, not how fast. */
const QUICK: Plan = {
  copyBytes: 16 * MIB,
  gemm: [[256, 64]],
  gemv: [512],
  weightBytes: 2 * MIB,
  ...{ seconds: 0.02, rounds: 3 },
  model: { hiddenSize: 128, intermediateSize: 256, layers: 2, vocabSize: 512, tokens: 8 },
  codes: { shapes: [[128, 512]], tokens: 16, weightBytes: MIB / 4 },
};

async function describe(): Promise<void> {
  const adapter = await (await findGpu()).requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) return;
  const features = ["shader-f16", "subgroups"].map(
    (feature) => `${feature} ${adapter.features.has(feature) ? "yes" : "no"}`,
  );
  const dot4 = (await findGpu()).wgslLanguageFeatures?.has("packed_4x8_integer_dot_product");
  features.push(`dot4I8Packed ${dot4 ? "yes" : "no"}`);
  console.log(`adapter: ${nameOf(adapter.info)}; ${features.join(", ")}`);
}

async function main(plan: Plan, isOfCodes: boolean): Promise<void> {
  await describe();
  const backend = await openWebGpu();
  const show = (found: readonly Figure[]) => {
    for (const { name, ...figure } of found)
      console.log(table([{ ...figure, name: name.padEnd(52) }]));
  };
  const { seconds, rounds } = plan;
  const clock = { seconds, rounds };
  if (isOfCodes) {
    await judgeCodes(backend);
    await codes(backend, { ...plan.codes, clock }, show);
    backend.dispose();
    return;
  }
  const bandwidth = await copyBandwidth(backend, plan.copyBytes, clock);
  const name = `copy of ${plan.copyBytes / MIB} MiB, read and written`;
  show([{ name, value: bandwidth / 1e9, unit: "GB/s" }]);
  for (const [n, tokens] of plan.gemm) {
    show(await products(backend, n, tokens, { bandwidth, copies: 1, clock }));
  }
  for (const n of plan.gemv) {
    const copies = Math.max(1, Math.ceil(plan.weightBytes / (4 * n * n)));
    show(await products(backend, n, 1, { bandwidth, copies, clock }));
  }
  show(await decode(backend, plan.model));
  backend.dispose();
}

try {
  const has = (option: string) => process.argv.includes(option);
  await main(has("--quick") ? QUICK : FULL, has("--codes"));
  process.exit(0);
} catch (error) {
  if (!(error instanceof PenjingError)) throw error;
  console.error(error.message);
  process.exit(1);
}
