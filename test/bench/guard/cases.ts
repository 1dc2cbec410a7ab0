// What the guard measures. rollup bundles this file with all that it needs, and such a bundle is kept
// as the accepted build: two builds have to agree on `Mode` alone, not on the package's API.
import type { Backend } from "../../../src/backend.js";
import type { Simd } from "../../../src/backends/wasm/module.js";
import { SHAPES } from "../../../src/backends/wasm/tune.js";
import { openWasm } from "../../../src/backends/wasm.js";
import { twoFourLeaf } from "../../../src/forms/leaf.js";
import { availableModes, randomValues, squareCases } from "../contenders.js";
import { sparseGptCases } from "../sparsegpt-cases.js";

/** An operation on operands that were made before. */
export interface Case {
  readonly name: string;
  run(): unknown;
}

/** The cases on the kernels of one mode, on one thread. */
export interface Mode {
  readonly name: string;
  readonly cases: readonly Case[];
  dispose(): void;
}

const ORDER = 512;
/** Of the 2:4 layers: with 4 MiB of dense weights, as in a small model. */
const WIDTH = 1024;

/** Of the products that decide between the micro-kernels' shapes, and how often each has its turn. */
const TRIAL = 256;
const TRIALS = 40;
/** Of shapes so close to the fastest the first is used, so that equal builds use the same one. */
const CLOSE = 1.05;

/**
 * The fastest shape of the micro-kernel. The backend's own choice, made in some milliseconds, is a
 * matter of chance on a busy machine, and what it costs to choose badly is more than the guard allows.
 */
async function fastestShape(simd: Simd): Promise<number> {
  const backends = await Promise.all(
    SHAPES.map((_, shape) => openWasm({ simd, threads: 1, shape })),
  );
  const products = backends.map((backend) => {
    const [a, b] = [0, 1].map(() => backend.upload(randomValues(TRIAL ** 2), [TRIAL, TRIAL]));
    const out = backend.zeros([TRIAL, TRIAL]);
    return () => backend.ops.gemm(a, b, out);
  });
  const least = SHAPES.map(() => Infinity);
  for (let trial = 0; trial < TRIALS; trial++) {
    for (const [shape, product] of products.entries()) {
      const started = performance.now();
      product();
      least[shape] = Math.min(least[shape], performance.now() - started);
    }
  }
  for (const backend of backends) backend.dispose();
  return least.findIndex((time) => time <= CLOSE * Math.min(...least));
}

async function square(backend: Backend): Promise<Case[]> {
  const { gemm, accumulateHessian, cholesky, triangularInverse } = await squareCases(
    backend,
    ORDER,
  );
  const sparseGpt = sparseGptCases(backend, ORDER);
  await sparseGpt.prepare();
  return [
    { name: `GEMM ${ORDER}`, run: gemm },
    { name: `Hessian ${ORDER}`, run: accumulateHessian },
    { name: `Cholesky ${ORDER}`, run: cholesky },
    { name: `triangular inverse ${ORDER}`, run: triangularInverse },
    { name: `SparseGPT 2:4 ${ORDER}`, run: () => sparseGpt.layer({ n: 2, m: 4 }) },
  ];
}

async function linear(backend: Backend): Promise<Case[]> {
  const { ops } = backend;
  const weights = randomValues(WIDTH * WIDTH);
  for (let i = 0; i < weights.length; i += 4) weights.fill(0, i, i + 2);
  const dense = backend.upload(weights, [WIDTH, WIDTH]);
  const values = backend.zeros([WIDTH, WIDTH / 2]);
  const indices = backend.zeros([WIDTH, WIDTH / 8], "u8");
  await ops.packTwoFour(dense, values, indices);
  const sparse = await ops.prepare(twoFourLeaf(values, indices, [WIDTH, WIDTH]));
  return [1, 32].flatMap((tokens) => {
    const x = backend.upload(randomValues(tokens * WIDTH), [tokens, WIDTH]);
    const out = backend.zeros([tokens, WIDTH]);
    const shape = `${tokens} x ${WIDTH} x ${WIDTH}`;
    return [
      { name: `dense ${shape}`, run: () => ops.multiply(x, dense, out) },
      { name: `2:4 ${shape}`, run: () => ops.multiply(x, sparse, out) },
    ];
  });
}

/** Opens each mode that this runtime has. */
export async function openModes(): Promise<Mode[]> {
  const modes: Mode[] = [];
  for (const name of availableModes()) {
    const shape = await fastestShape(name);
    const backend = await openWasm({ simd: name, threads: 1, shape });
    const cases = [...(await square(backend)), ...(await linear(backend))];
    modes.push({ name, cases, dispose: () => backend.dispose() });
  }
  return modes;
}
