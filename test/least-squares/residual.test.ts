import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { definePlugin, type Method } from "../../src/kit.js";
import { residualFactors } from "../../src/model.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder } from "../../src/platform/files.js";
import { pruneLinear } from "../../src/prune.js";
import { refused } from "../checkpoint/crafted.js";
import { compressFiles, convert, storyFiles } from "../compress/stories.js";
import { tinyFiles } from "../models/tiny-model.js";

const test = suite("anchoring the residual stream");

/** Frobenius norms of the residual moments by layer, as the last run saw them. */
const seen = new Map<string, number>();

/** Makes every weight smaller, which a turn of the model does not change. */
const shrink: Method<Record<never, never>> = {
  name: "shrink",
  summary: "make every weight a tenth smaller, and tell what the residual stream lacks",
  source: "this test",
  options: {},
  needs: () => ["residualMoment"],
  async prune({ backend, weight, statistics, name }) {
    const moment = (await backend.read(statistics.tensors.residualMoment)) as Float32Array;
    seen.set(name, Math.hypot(...moment));
    backend.ops.scale(weight, 0.9);
    const mask = backend.upload(new Uint8Array(weight.size).fill(1), weight.shape);
    return { mask, figures: {}, notes: [] };
  },
};
const plugins = [definePlugin({ name: "shrink", version: "1.0.0", methods: [shrink] })];

/** Only what adds to the stream can be asked for it, and needs no other shape. */
const ADDING = ["*.o_proj", "*.down_proj"];

async function moments(recipe: Partial<FlatRecipe>): Promise<Map<string, number>> {
  seen.clear();
  const model = await convert(storyFiles(), "F32");
  const { rotate, statistics } = recipe;
  const steps = [
    ...(rotate ? [{ rotate }] : []),
    { prune: { method: "shrink", sparsity: "0%" }, match: ADDING },
  ];
  await compressFiles(model, { version: 2, statistics, steps } as never, { plugins });
  return new Map(seen);
}

test("nothing is lacking before the first linear that changes, and more from block to block", async () => {
  for (const statistics of ["sequential", "true-sequential"] as const) {
    const found = await moments({ statistics });
    assert.is(found.get("model.layers.0.self_attn.o_proj"), 0);
    // Within a block only what follows the linears one by one sees what o did.
    const isSeen = statistics === "true-sequential";
    assert.is(found.get("model.layers.0.mlp.down_proj")! > 0, isSeen, statistics);
    assert.ok(found.get("model.layers.1.self_attn.o_proj")! > 0);
  }
});

test("turned with the stream, it has the size that it has in the model's own coordinates", async () => {
  for (const statistics of ["sequential", "true-sequential"] as const) {
    const plain = await moments({ statistics });
    for (const scope of ["block", "shared"] as const) {
      const turned = await moments({ statistics, rotate: { scope, steps: 2 } });
      for (const [name, norm] of plain) {
        const found = turned.get(name)!;
        assert.ok(Math.abs(found - norm) <= 2e-3 * norm, `${scope}, ${name}: ${found}, ${norm}`);
      }
    }
  }
});

test("leaves alone what lacks nothing, and moves what follows", async () => {
  const errors = async (anchorResidual: number) => {
    const recipe: FlatRecipe = {
      ...{ method: "sparsegpt", refit: 4, anchor: 0.5, samples: 16, length: 128 },
      ...{ statistics: "true-sequential", anchorResidual },
    };
    const { result } = await compressFiles(storyFiles(), recipe);
    return result.layers.map(({ figures }) => figures.anchoredError);
  };
  const [without, withIt] = [await errors(0), await errors(0.5)];
  // The first layer's stream lacks nothing.
  assert.is(withIt[0], without[0]);
  assert.is.not(withIt[6], without[6]);
});

test("what adds to the stream, and by which factor", async () => {
  const factorsOf = async (family: string) => {
    const checkpoint = await openCheckpoint(memoryFolder(tinyFiles(family)));
    return [...residualFactors((await readModel(checkpoint)).spec.blocks[0])];
  };
  assert.equal(await factorsOf("smollm3"), [
    ["self_attn.o_proj", 1],
    ["mlp.down_proj", 1],
  ]);
  const granite = await factorsOf("granite");
  assert.is(granite.length, 2);
  assert.ok(granite.every(([, factor]) => factor !== 1));
  // Both branches of a parallel block add to one stream: the last makes up for it.
  assert.equal(await factorsOf("gpt_neox"), [["mlp.dense_4h_to_h", 1]]);
  // A norm stands between.
  assert.equal(await factorsOf("olmo2"), []);
});

test("is refused where there is no stream, or nothing to make up for", async () => {
  await refused(
    () => compressFiles(storyFiles(), { anchorResidual: 0.5, statistics: "dense" }),
    /^\[anchorResidual\] with `statistics: dense` every layer's inputs are the dense model's/,
  );
  await refused(
    () =>
      pruneLinear({
        ...{ weight: new Float32Array(16), rows: 4, cols: 4 },
        ...{ activations: new Float32Array(16).fill(1), options: { anchorResidual: 0.5 } },
      }),
    /^\[pruneLinear\] anchorResidual makes up for the residual stream, .*; leave it out\./,
  );
  const steps = [
    { prune: { method: "wanda" } },
    { quantize: { method: "rtn", anchorResidual: 0.5 } },
  ];
  await refused(
    () => compressFiles(storyFiles(), { version: 2, steps } as never),
    /^\[quantize\] .* give `anchorResidual` to the step that prunes it\./,
  );
});

test.run();
