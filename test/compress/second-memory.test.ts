// Blocks that are beyond one memory with their statistics: those of the widest inputs lie in a second.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWasm } from "../../src/backends/wasm.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { memoryOutputFolder } from "../../src/platform/files.js";
import { writeSynthetic } from "../bench/synthetic.js";
import { compressFiles, sameFiles } from "./stories.js";

const test = suite("compress in two memories");

/** A model whose widest Hessian, and what solves with it, is half of what is held. */
const folder = memoryOutputFolder("wide");
await writeSynthetic(folder, { width: 512, layers: 2, neurons: 1024, dtype: "BF16" });
const { files } = folder;

const PRUNE = { method: "sparsegpt", sparsity: "2:4" } as const;
/** What is done, and the share of the room for all that the first memory has: enough for its part. */
const RUNS: Readonly<Record<string, readonly [recipe: FlatRecipe, share: number]>> = {
  "SparseGPT's": [PRUNE, 0.95],
  "one with anchors and a refit": [
    {
      ...{ ...PRUNE, refit: 4, anchor: 0.5, anchorResidual: 0.5 },
      statistics: "true-sequential",
    },
    0.95,
  ],
  "a quantized one": [{ method: "gptq", options: { bits: 4, groupSize: 32 } }, 0.9],
};

for (const [name, [recipe, share]] of Object.entries(RUNS)) {
  test(`${name}: what comes out is the same, and so are its errors`, async () => {
    const one = await openWasm({ threads: 1 });
    const alone = await compressFiles(files, recipe, { backend: one });
    const { peak, live } = one.memory();
    assert.is(live, 0);
    one.dispose();

    // The first has no room for all.
    const most = Math.floor(share * peak);
    const first = await openWasm({ threads: 1, mostBytes: most });
    const both = await compressFiles(files, recipe, { backend: first });
    sameFiles(
      Object.fromEntries(Object.entries(both.files).filter(([file]) => isMade(file))),
      Object.fromEntries(Object.entries(alone.files).filter(([file]) => isMade(file))),
    );
    assert.equal(both.result.layers, alone.result.layers);
    const used = first.memory();
    assert.is(used.live, 0);
    assert.ok(used.peak < most, `${used.peak} of ${most}`);
    // The second was there.
    assert.ok(both.result.peakTensorBytes > used.peak);
    first.dispose();
  });
}

/** The report has times. */
function isMade(file: string): boolean {
  return file !== "penjing-report.json";
}

test.run();
