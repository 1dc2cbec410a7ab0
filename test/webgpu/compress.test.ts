import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { compressFiles, storyFiles } from "../compress/stories.js";
import { note, skipUnless } from "../shared.js";
import { hasWebGpu, NO_WEBGPU, openTestGpu } from "./adapter.js";

const test = suite("webgpu/compress");

/** Recipes for the layers of the first block that are named: a software adapter is slow. */
const RECIPES: readonly (readonly [readonly string[], FlatRecipe])[] = [
  [["q_proj", "v_proj", "o_proj"], { method: "sparsegpt", sparsity: "2:4" }],
  [["v_proj"], { method: "sparsegpt", sparsity: "50%" }],
];

const LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

async function compressOn(backend: Backend, recipe: FlatRecipe) {
  const { result, files } = await compressFiles(storyFiles(), recipe, { backend });
  const served = backend.served();
  backend.dispose();
  return { layers: result.layers, files, served };
}

for (const [linears, given] of RECIPES) {
  const others = LINEARS.filter((linear) => !linears.includes(linear));
  const ignore = ["*.1.*", "*.2.*", "*.3.*", ...others.map((linear) => `*${linear}`)];
  const recipe = { samples: 3, length: 16, ignore, ...given };
  const name = `${recipe.method} ${recipe.sparsity}`;
  skipUnless(test, hasWebGpu, NO_WEBGPU, `${name}: layer errors equal wasm's`, async () => {
    const gpu = await compressOn(await openTestGpu(), recipe);
    const wasm = await compressOn(await openWasm(), recipe);
    assert.is(gpu.layers.length, linears.length);
    let furthest = 0;
    gpu.layers.forEach(({ layerError = 0, removed }, i) => {
      const expected = wasm.layers[i].layerError ?? 0;
      assert.ok(layerError > 0 && removed === 0.5);
      furthest = Math.max(furthest, Math.abs(layerError / expected - 1));
    });
    note(
      `${name}: layer errors on WebGPU and wasm differ by ${furthest.toExponential(1)}, relative`,
    );
    assert.ok(furthest < 0.01, String(furthest));
    const copied = gpu.served.filter(({ servedBy }) => servedBy !== "webgpu");
    assert.equal(copied, []);
    const sweep = gpu.served.find(({ operation }) => operation === "columnSweep");
    assert.is(sweep?.calls, linears.length);
  });
}

test.run();
