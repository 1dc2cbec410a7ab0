import { readFileSync } from "node:fs";
import { openWasm } from "../../src/backends/wasm.js";
import { methods } from "../../src/methods/index.js";
import { indexBytes } from "../../src/pack.js";
import { pruneLinear } from "../../src/prune.js";
import { goldenHessian, goldenLayer } from "../golden.js";
import { hasShared, sharedPath } from "../shared.js";
import type { BenchOptions, Figure } from "./measure.js";

const LAYERS = ["1024x1024", "768x768", "512x256", "256x512"];
const BLOCKS = [4, 8, 16, 32, 64, 128];

/** A method with the options that it is run with here. */
interface Case {
  readonly name: string;
  readonly method: string;
  readonly options: Readonly<Record<string, number>>;
}

/** ARMOR's fast schedule, as published and with the rounds after it. */
const ARMOR_SCHEDULES = [
  { iterations: 500, learningRate: 1e-3, rounds: 0 },
  { iterations: 500, learningRate: 1e-3, rounds: 10 },
];

/** Every method once, those with factors once for each size of block, ARMOR with and without rounds. */
function cases(quick: boolean): Case[] {
  return Object.values(methods).flatMap(({ name: method, form }): Case[] => {
    if (!form) return [{ name: method, method, options: {} }];
    const blocks = BLOCKS.map((blockSize) => ({
      name: `${method} blocks of ${blockSize}`,
      method,
      options: { blockSize },
    }));
    if (method !== "armor") return blocks;
    return ARMOR_SCHEDULES.slice(0, quick ? 1 : 2).flatMap((schedule) =>
      blocks.map(({ name, options }) => ({
        name: `${name}, ${schedule.iterations} at ${schedule.learningRate}, ${schedule.rounds} rounds`,
        method,
        options: { ...options, ...schedule },
      })),
    );
  });
}

/** The generator of the layers takes command line arguments for files of its own. */
async function withoutArguments<T>(use: () => Promise<T>): Promise<T> {
  const rest = process.argv.splice(2);
  try {
    return await use();
  } finally {
    process.argv.push(...rest);
  }
}

/**
 * What each method loses at 2:4 on single layers, and the bytes that its result takes: the packed
 * weight and the factors, both in the layer's dtype, as a share of the dense weight's. Needs
 * ../shared.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  if (!hasShared()) return [];
  const { cases: stored } = JSON.parse(readFileSync(sharedPath("golden", "manifest.json"), "utf8"));
  const figures: Figure[] = [];
  for (const shape of LAYERS) {
    const backend = await openWasm();
    const layer = await withoutArguments(() => goldenLayer(shape));
    const { rows, cols, weight, sequences } = layer;
    const hessian = await goldenHessian(backend, layer);
    const tokens = layer.activations.length / cols;
    const bytes = stored[shape].w_dtype === "f32" ? 4 : 2;
    for (const { name, method, options } of cases(quick)) {
      const start = performance.now();
      const problem = { weight, rows, cols, hessian, sequences, tokens, backend };
      const pruned = await pruneLinear({ ...problem, method, options, sparsity: "2:4" });
      const seconds = (performance.now() - start) / 1000;
      const all = (pruned.factors ?? []).map(({ parts }) => parts.get("values")!.length);
      const factors = all.reduce((sum, length) => sum + length, 0) - (all[1] ?? 0);
      const packed = rows * indexBytes(cols) + bytes * ((rows * cols) / 2 + factors);
      figures.push(
        {
          name: `${shape} ${name}`,
          value: pruned.layerError as number,
          unit: "error",
          ratio: packed / (bytes * rows * cols),
          against: "the dense bytes",
        },
        { name: `${shape} ${name}, time`, value: seconds, unit: "s" },
      );
    }
    backend.dispose();
  }
  return figures;
}
