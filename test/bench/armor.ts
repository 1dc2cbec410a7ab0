import { readFileSync } from "node:fs";
import { openWasm } from "../../src/backends/wasm.js";
import { hasShared, sharedPath } from "../shared.js";
import { randomValues } from "./contenders.js";
import { type Figure, median } from "./figures.js";
import type { BenchOptions } from "./measure.js";

const SHAPES: readonly (readonly [number, number])[] = [
  [256, 512],
  [768, 768],
  [1024, 1024],
];

/** Seconds per iteration of the original program on one thread, by shape, where they are at hand. */
function originals(block: number): Record<string, number> {
  if (!hasShared()) return {};
  const manifest = JSON.parse(readFileSync(sharedPath("golden", "manifest.json"), "utf8"));
  const cases: Record<string, Record<string, number>> = manifest.timing_seconds["1 thread"];
  return Object.fromEntries(
    Object.entries(cases).map(([name, times]) => [name, times[`armor_b${block} per iteration`]]),
  );
}

/** Seconds of one iteration of ARMOR's optimisation of a random layer. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const block of quick ? [32] : [8, 32, 128]) {
    const peers = originals(block);
    for (const [rows, cols] of quick ? SHAPES.slice(0, 1) : SHAPES) {
      const value = await secondsPerIteration(rows, cols, block, quick ? 10 : 30);
      const peer = peers[`${rows}x${cols}`];
      figures.push({
        name: `armor ${rows}x${cols} block ${block}, per iteration`,
        value,
        unit: "s",
        ...(peer && { ratio: value / peer, against: "the original's time" }),
      });
    }
  }
  return figures;
}

/** The median over single iterations, after a few that warm the kernels up. */
async function secondsPerIteration(rows: number, cols: number, block: number, iterations: number) {
  const backend = await openWasm({ threads: 1 });
  const { ops } = backend;
  const random = randomValues(rows * cols);
  const target = backend.upload(random, [rows, cols]);
  const importance = backend.upload(random.slice(0, cols).map(Math.abs), [cols]);
  const mask = backend.zeros([rows, cols], "u8");
  ops.selectNofM(target, mask, 2, 4);
  const blocks = { blockRows: block, blockCols: block };
  const state = await ops.armorOpen(target, importance, mask, blocks);
  const choices = backend.upload(random.slice(0, state.pairs).map(Math.abs), [1, state.pairs]);
  const seconds: number[] = [];
  for (let i = -3; i < iterations; i++) {
    const start = performance.now();
    await ops.armorAdvance(state, choices, { learningRate: 1e-4 });
    if (i >= 0) seconds.push((performance.now() - start) / 1000);
  }
  backend.dispose();
  return median(seconds);
}
