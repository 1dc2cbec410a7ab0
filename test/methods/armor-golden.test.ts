import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWasm } from "../../src/backends/wasm.js";
import { layerError } from "../../src/layer-error.js";
import { armorRun } from "../armor-golden.js";
import { goldenLayer } from "../golden.js";
import { note, sharedTest } from "../shared.js";
import { near, prune } from "./armor-layer.js";

const test = suite("armor golden");

/** Golden runs and how many seeds to take the mean of: after 1000 steps of 1e-3 they spread by 4%. */
const RUNS: readonly (readonly [layer: string, run: string, seeds: number])[] = [
  ["128x128", "armor_b32_lr1e-4", 1],
  ["128x128", "armor_b32_lr1e-3", 4],
  ["128x128", "armor_b128_lr1e-3", 1],
  ["128x128dead", "armor_b32_lr1e-3", 4],
  ["128x128dead", "armor_b128_lr1e-3", 2],
  ["256x512", "armor_b32_lr1e-3", 1],
  ["512x256", "armor_b32_lr1e-3", 1],
];

for (const [name, run, seeds] of RUNS) {
  sharedTest(test, `${name} ${run}: within 3% of the original, own random numbers`, async () => {
    const { rows, cols, weight, activations } = await goldenLayer(name);
    const golden = armorRun(name, run);
    const backend = await openWasm();
    const x = backend.upload(activations, [activations.length / cols, cols]);
    const hessian = backend.zeros([cols, cols]);
    backend.ops.accumulateHessian(x, hessian, 1);
    backend.ops.mirrorUpper(hessian);
    const columnSquares = backend.zeros([cols]);
    backend.ops.accumulateColumnSquares(x, columnSquares);
    const squares = (await backend.read(columnSquares)) as Float32Array;
    const original = backend.upload(weight, [rows, cols]);
    let [proxy, error] = [0, 0];
    for (let seed = 0; seed < seeds; seed++) {
      const { outcome, dense } = await prune(
        backend,
        { rows, cols, weight, squares },
        {
          blockSize: golden.block,
          iterations: golden.iterations,
          learningRate: golden.learningRate,
        },
        { seed },
      );
      assert.is(outcome.figures.iterations, golden.iterations);
      near(outcome.figures.proxyBefore, golden.proxyBefore, 2e-5, "proxyBefore");
      proxy += outcome.figures.proxyAfter / seeds;
      const pruned = backend.upload(dense, [rows, cols]);
      error += (await layerError(backend, original, pruned, hessian)) / seeds;
      pruned.dispose();
    }
    const percent = (ours: number, theirs: number) => `${(100 * (ours / theirs - 1)).toFixed(1)}%`;
    note(
      `armor ${name} ${run.slice(6)}: proxy ${percent(proxy, golden.proxyAfter)}, layer error ${percent(error, golden.layerError)} from the original's`,
    );
    near(proxy, golden.proxyAfter, 0.03, "proxyAfter");
    near(error, golden.layerError, 0.03, "layer error");
    backend.dispose();
  });
}

test.run();
