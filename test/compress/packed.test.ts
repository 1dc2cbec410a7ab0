// While it runs, pruned 2:4 weights are held packed: what comes out has the bits of the run that does without.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { compressFiles, EVALUATION, type Files, sameFiles, storyFiles } from "./stories.js";

const test = suite("compress with packed weights");
const files = storyFiles();

/** A backend that tells the forms of what it prepares. */
async function open(packs: boolean): Promise<{ backend: Backend; prepared: Set<string> }> {
  const backend = await openWasm({ threads: 1 });
  const prepared = new Set<string>();
  const ops: Backend["ops"] = {
    ...backend.ops,
    async prepare(form, options) {
      const matrix = await backend.ops.prepare(form, options);
      prepared.add(matrix.held);
      return matrix;
    },
  };
  const given = { ops, packsFrom: packs ? backend.packsFrom : undefined };
  return { backend: Object.assign(Object.create(backend), given), prepared };
}

const made = (all: Files) =>
  Object.fromEntries(Object.entries(all).filter(([file]) => file !== "penjing-report.json"));

const RECIPES: Readonly<Record<string, FlatRecipe>> = {
  SparseGPT: { method: "sparsegpt" },
  "anchors, refit and true-sequential": {
    ...{ method: "sparsegpt", anchor: 0.25, anchorResidual: 0.25, refit: 4 },
    statistics: "true-sequential",
  },
  Wanda: { method: "wanda" },
};

for (const [name, recipe] of Object.entries(RECIPES)) {
  test(`${name}: the same bytes and perplexities`, async () => {
    const runs = [];
    for (const packs of [false, true]) {
      const { backend, prepared } = await open(packs);
      const evaluate = { text: EVALUATION, window: 64 };
      runs.push({ ...(await compressFiles(files, recipe, { backend, evaluate })), prepared });
      assert.is(backend.memory().live, 0);
      backend.dispose();
    }
    const [without, packed] = runs;
    sameFiles(made(packed.files), made(without.files));
    assert.equal(packed.result.layers, without.result.layers);
    assert.equal(packed.result.evaluation, without.result.evaluation);
    const isPacked = (held: string) => held.startsWith("2:4");
    assert.not.ok([...without.prepared].some(isPacked));
    assert.ok([...packed.prepared].some(isPacked), [...packed.prepared].join());
  });
}

test("windows that are too short for the same bits are multiplied as they were", async () => {
  const { backend, prepared } = await open(true);
  await compressFiles(files, { length: backend.packsFrom! - 1 }, { backend });
  assert.not.ok([...prepared].some((held) => held.startsWith("2:4")));
  backend.dispose();
});

test.run();
