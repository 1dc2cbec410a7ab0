import type { Backend } from "../../src/backend.js";
import type { LinearProblem, Method } from "../../src/method.js";
import { sparsegpt } from "../../src/methods/sparsegpt.js";
import { resolveOptions } from "../../src/options.js";
import { gptq } from "../../src/quantizers/gptq.js";
import { parseSparsity } from "../../src/sparsity.js";
import { type Contender, openContenders, randomValues } from "./contenders.js";
import { type BenchOptions, type Figure, mediansAsync } from "./measure.js";

/** The linears of a block of SmolLM2-135M: [outFeatures, inFeatures], and how many there are. */
const LINEARS = [
  [576, 576, 2],
  [192, 576, 2],
  [1536, 576, 2],
  [576, 1536, 1],
] as const;

/** The Hessian of `inFeatures` inputs of which some are much alike and some large. */
function hessianOf(backend: Backend, inFeatures: number) {
  const tokens = 2 * inFeatures;
  const common = randomValues(tokens);
  const samples = randomValues(tokens * inFeatures).map(
    (x, i) => (x + common[Math.floor(i / inFeatures)]) * (1 + (i % 7)),
  );
  const hessian = backend.zeros([inFeatures, inFeatures]);
  backend.ops.accumulateHessian(backend.upload(samples, [tokens, inFeatures]), hessian, 1);
  backend.ops.mirrorUpper(hessian);
  return hessian;
}

/** Solves one linear by a method; its Hessian is there. */
function solver(
  backend: Backend,
  [rows, cols]: readonly [number, number],
  method: Method,
  given: Readonly<Record<string, number>>,
): () => Promise<void> {
  const hessian = hessianOf(backend, cols);
  const original = backend.upload(randomValues(rows * cols), [rows, cols]);
  const weight = backend.zeros([rows, cols]);
  const options = resolveOptions(method.options, given, method.name);
  const isPruner = method.name === sparsegpt.name;
  const problem: LinearProblem = {
    name: method.name,
    weight,
    statistics: { sequences: 1, tokens: 2 * cols, tensors: { hessian } },
    sparsity: parseSparsity(isPruner ? "2:4" : "0%"),
    backend,
  };
  return async () => {
    backend.copy(original, weight);
    const { mask, form } = await method.prune(problem, options);
    mask.dispose();
    if (form?.kind === "leaf") for (const part of form.parts.values()) part.dispose();
  };
}

const CASES: Readonly<Record<string, readonly [Method, Readonly<Record<string, number>>]>> = {
  "sparsegpt 2:4": [sparsegpt as Method, {}],
  "gptq 4 bits, refine 0": [gptq as Method, { refine: 0 }],
  "gptq 4 bits": [gptq as Method, {}],
  "gptq 3 bits": [gptq as Method, { bits: 3 }],
  "gptq 8 bits": [gptq as Method, { bits: 8 }],
};

async function blockTimes({ mode, backend, peak }: Contender, quick: boolean): Promise<Figure[]> {
  const sums = Object.keys(CASES).map(() => 0);
  for (const [rows, cols, count] of LINEARS) {
    const shape = quick ? ([rows / 4, cols / 4] as const) : ([rows, cols] as const);
    const cases = Object.fromEntries(
      Object.entries(CASES).map(([name, [method, options]]) => [
        name,
        solver(backend, shape, method, options),
      ]),
    );
    const turns = quick ? { rounds: 2, seconds: 0.02 } : { rounds: 5, seconds: 0.05 };
    const seconds = await mediansAsync(cases, { ...turns, gauge: peak.gauge });
    Object.keys(CASES).forEach((name, i) => {
      sums[i] += count * seconds[name];
    });
  }
  const shown = quick ? "a block, quarter width" : "a block of SmolLM2-135M";
  return Object.keys(CASES).map((name, i) => ({
    ...{ name: `${shown}, ${name}`, by: mode, value: sums[i], unit: "s" },
    ...(i > 0 && { ratio: sums[i] / sums[0], against: "sparsegpt" }),
  }));
}

/**
 * What it takes to quantize the linears of one block by GPTQ, and to prune them by SparseGPT, on one
 * thread with their Hessians given: order, factor, sweep and, where it is asked for, refinement.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const contender of await openContenders()) {
    figures.push(...(await blockTimes(contender, quick)));
    contender.backend.dispose();
  }
  return figures;
}
