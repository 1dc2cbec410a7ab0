import { openWasm } from "../../src/backends/wasm.js";
import { optimiseRotation } from "../../src/rotation/optimise.js";
import type { RotationOptions } from "../../src/rotation.js";
import { foldedModel } from "../rotation/blocks.js";
import { goldenToy } from "../rotation/toy.js";
import { hasShared } from "../shared.js";
import type { BenchOptions, Figure } from "./measure.js";

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
  "riemannian by width, block 32": { blockSize: 32 },
};

/**
 * What 100 steps of each parametrisation take off the loss, on the golden toy block and on a middle
 * block of each real model, as a share of what QR with Adam takes off; and the seconds it takes.
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
    for (const base of quick ? OBJECTIVES.slice(1, 2) : OBJECTIVES) {
      let published: number | undefined;
      for (const [way, options] of Object.entries(WAYS)) {
        const begun = performance.now();
        const outcome = await optimiseRotation(backend, [problem], {
          ...base,
          ...options,
          steps: quick ? 20 : 100,
        });
        const seconds = (performance.now() - begun) / 1000;
        const fall = outcome.curve[0] - outcome.loss;
        published ??= fall;
        const damped = base.scoreDamping === 0 ? " undamped" : "";
        figures.push({
          name: `${name} ${base.objective}${damped}, ${way} (${seconds.toFixed(2)} s)`,
          value: fall,
          unit: `nats of ${outcome.curve[0].toFixed(0)}`,
          ratio: fall / published,
          against: "qr 0.01's fall",
        });
        for (const tensor of [outcome.q, ...outcome.r2]) tensor.dispose();
      }
    }
  }
  backend.dispose();
  return figures;
}
