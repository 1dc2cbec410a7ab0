import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import { optimiseRotation } from "../../src/rotation/optimise.js";
import {
  ROTATION_LOSSES,
  type RotationLoss,
  type RotationOptions,
  type RotationProblem,
} from "../../src/rotation.js";
import { foldedModel } from "../rotation/blocks.js";
import { goldenToy } from "../rotation/toy.js";
import { hasShared } from "../shared.js";
import { type Figure, median } from "./figures.js";
import type { BenchOptions } from "./measure.js";

const OBJECTIVES: readonly RotationOptions[] = [
  { objective: "magnitude" },
  { objective: "wanda" },
  { objective: "sparsegpt", scoreDamping: 0 },
  { objective: "sparsegpt" },
];

/** The published way first: the others' falls in loss are given as shares of its fall. */
const WAYS: Readonly<Record<string, RotationOptions>> = {
  "qr 0.01": { parametrisation: "qr" },
  "qr 0.02": { parametrisation: "qr", learningRate: 0.02 },
  "riemannian by width": {},
  "riemannian 0.02": { learningRate: 0.02 },
  "riemannian 0.05": { learningRate: 0.05 },
  "riemannian 0.15": { learningRate: 0.15 },
  "riemannian 0.3": { learningRate: 0.3 },
  "riemannian by width, block 32": { blockSize: 32 },
};

const UNITS: Readonly<Record<RotationLoss, string>> = {
  entropy: "nats",
  removed: "weights",
  rounding: "linears",
};

/** Steps of a timed search, and searches of each loss, which take turns. */
const [TIMED_STEPS, ROUNDS] = [10, 9];

/**
 * What 100 steps of each parametrisation take off each loss, on the golden toy block and on a middle
 * block of each real model, as a share of what QR with Adam takes off, and the seconds it takes; and
 * the time of a step by each loss.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  const backend = await openWasm();
  const names = hasShared()
    ? ["toy", "stories260k", "tinystories-656k", "stories-1m"]
    : ["stories-1m"];
  for (const name of quick ? names.slice(-1) : names) {
    const problem =
      name === "toy"
        ? (await goldenToy()).problem(backend)
        : (await foldedModel(backend, name, { samples: 32, length: 256 })).problems[1];
    figures.push(...(await stepTimes(backend, name, problem)));
    for (const base of quick ? OBJECTIVES.slice(1, 2) : OBJECTIVES) {
      for (const loss of lossesOf(name)) {
        figures.push(...(await falls(backend, name, problem, { ...base, loss }, quick ? 20 : 100)));
      }
    }
  }
  backend.dispose();
  return figures;
}

/** Of the golden toy block no Hessian is known that rounding down would need. */
function lossesOf(name: string): RotationLoss[] {
  return ROTATION_LOSSES.filter((loss) => name !== "toy" || loss !== "rounding");
}

/** How far each way lowers a loss. */
async function falls(
  backend: Backend,
  name: string,
  problem: RotationProblem,
  base: RotationOptions & { readonly loss: RotationLoss },
  steps: number,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  let published: number | undefined;
  for (const [way, options] of Object.entries(WAYS)) {
    const begun = performance.now();
    const outcome = await optimiseRotation(backend, [problem], { ...base, ...options, steps });
    const seconds = (performance.now() - begun) / 1000;
    const fall = outcome.curve[0] - outcome.loss;
    published ??= fall;
    const damped = base.scoreDamping === 0 ? " undamped" : "";
    figures.push({
      name: `${name} ${base.loss}, ${base.objective}${damped}, ${way} (${seconds.toFixed(2)} s)`,
      value: fall,
      unit: `${UNITS[base.loss]} of ${outcome.curve[0].toFixed(0)}`,
      ratio: fall / published,
      against: "qr 0.01's fall",
    });
    for (const tensor of [outcome.q!, ...outcome.r2]) tensor.dispose();
  }
  return figures;
}

/** Median milliseconds of a step by each loss, the search's start and end spread over its steps. */
async function stepTimes(
  backend: Backend,
  name: string,
  problem: RotationProblem,
): Promise<Figure[]> {
  const times: Record<RotationLoss, number[]> = { entropy: [], removed: [], rounding: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    for (const loss of lossesOf(name)) {
      const begun = performance.now();
      const options: RotationOptions = { objective: "wanda", loss, steps: TIMED_STEPS };
      const outcome = await optimiseRotation(backend, [problem], options);
      // The first round runs code that is not optimised yet.
      if (round > 0) times[loss].push((performance.now() - begun) / TIMED_STEPS);
      for (const tensor of [outcome.q!, ...outcome.r2]) tensor.dispose();
    }
  }
  const entropy = median(times.entropy);
  return lossesOf(name).map((loss) => ({
    name: `${name} a step, ${loss}`,
    value: median(times[loss]),
    unit: "ms",
    ratio: median(times[loss]) / entropy,
    against: "entropy",
  }));
}
