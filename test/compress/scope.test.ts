import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { compress } from "../../src/compress.js";
import { hasExtras, readModel } from "../../src/models/stored.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { rotationGroups } from "../../src/rotation/scope.js";
import { refused } from "../checkpoint/crafted.js";
import { note } from "../shared.js";
import { NOTHING, near, perplexity, SHORT, tensorNames } from "./scope.js";
import {
  CALIBRATION,
  compressFiles,
  convert,
  parseWeights,
  storyFiles,
  withWeights,
} from "./stories.js";

const test = suite("rotations that blocks share");
test("groups cover all blocks in order, as evenly as they can", () => {
  for (let layers = 1; layers <= 9; layers++) {
    for (let count = 1; count <= layers; count++) {
      const groups = rotationGroups(`groups:${count}`, layers);
      const sizes = groups.map(({ first, end }) => end - first);
      assert.is(groups.length, count);
      assert.equal(
        groups.flatMap(({ first, end }) =>
          Array.from({ length: end - first }, (_, i) => first + i),
        ),
        Array.from({ length: layers }, (_, i) => i),
      );
      assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1);
    }
    assert.equal(rotationGroups("shared", layers), [{ first: 0, end: layers }]);
    assert.is(rotationGroups("block", layers).length, layers);
    assert.is(rotationGroups("heads", layers).length, layers);
  }
});

test("shared: a plain checkpoint of the same family that computes the same", async () => {
  const model = await convert(storyFiles(), "F32");
  const rotate = { scope: "shared", steps: 5, objective: "wanda" as const };
  const { files, result } = await compressFiles(model, { ...NOTHING, rotate });
  near(await perplexity(files), await perplexity(model), 1e-5);
  const checkpoint = await openCheckpoint(memoryFolder(files));
  assert.is(hasExtras(readModel(checkpoint)), false);
  assert.is(checkpoint.metadata["penjing.extras"], undefined);
  // The embedding and the head were one tensor and turn into two.
  const config = JSON.parse(new TextDecoder().decode(files["config.json"]));
  assert.is(config.tie_word_embeddings, false);
  const before = await openCheckpoint(memoryFolder(model));
  const { shape, byteLength } = before.tensors.get("model.embed_tokens.weight")!;
  assert.equal(checkpoint.tensors.get("lm_head.weight")?.shape, shape);
  assert.is(result.totals.bytesAfter - result.totals.bytesBefore, byteLength);
  // What is not rotated is as it was.
  const names = [...before.tensors.keys(), "lm_head.weight"];
  assert.equal([...checkpoint.tensors.keys()].sort(), names.sort());
  for (const [name, bytes] of Object.entries(model)) {
    if (/safetensors|config\.json$/.test(name) && name !== "tokenizer_config.json") continue;
    assert.is(Buffer.compare(files[name], bytes), 0, name);
  }
});

test("groups: turns stand before each group and after the last, and nothing changes", async () => {
  const model = await convert(storyFiles(), "F32");
  const expected = await perplexity(model);
  for (const [scope, first] of [
    ["groups:1", [0]],
    ["groups:2", [0, 2]],
    ["block", [0, 1, 2, 3]],
  ] as const) {
    const rotate = { scope, steps: 3, objective: "wanda" as const };
    const { files } = await compressFiles(model, { ...NOTHING, rotate });
    const turns = (await tensorNames(files)).filter((name) => name.endsWith("_rotation"));
    const names = first.map((layer) => `model.layers.${layer}.input_rotation`);
    assert.equal(turns.sort(), [...names, "model.output_rotation"].sort(), scope);
    near(await perplexity(files), expected, 1e-5);
  }
});

test("one Q for all blocks still loses less than none, and costs no turns", async () => {
  const { files: plain } = await compressFiles(storyFiles(), SHORT);
  const { files: shared } = await compressFiles(storyFiles(), {
    ...SHORT,
    rotate: { scope: "shared", steps: 60 },
  });
  const [before, after] = [await perplexity(plain), await perplexity(shared)];
  assert.ok(after < before, `${after} with the rotation, ${before} without`);
});

test("heads: values and what reads them turn, in as many bytes", async () => {
  const model = await convert(storyFiles(), "F32");
  const rotate = { scope: "heads" };
  const { files, result } = await compressFiles(model, { ...NOTHING, rotate });
  near(await perplexity(files), await perplexity(model), 1e-5);
  assert.is(result.totals.bytesAfter, result.totals.bytesBefore);
  const { tensors: before } = parseWeights(model);
  for (const [name, { bytes }] of parseWeights(files).tensors) {
    const isSame = Buffer.compare(bytes, before.get(name)!.bytes) === 0;
    assert.is(isSame, !/\.(v|o)_proj\.weight$/.test(name), name);
  }
  assert.equal(await tensorNames(files), await tensorNames(model));
  assert.is(Buffer.compare(files["config.json"], model["config.json"]), 0);
});

test("heads: with what looks at the dense model's inputs and residual stream", async () => {
  const rotate = { scope: "heads", steps: 30 };
  const recipe: FlatRecipe = { ...SHORT, statistics: "true-sequential", rotate };
  const [before, after] = await Promise.all(
    [{}, { anchor: 0.5, anchorResidual: 0.5, refit: 5 }].map(async (options) =>
      perplexity((await compressFiles(storyFiles(), { ...recipe, ...options })).files),
    ),
  );
  note(`turned heads: perplexity ${before.toFixed(2)}, with both anchors ${after.toFixed(2)}`);
  assert.ok(after < 0.97 * before, `${after} with the anchors, ${before} without`);
});

test("a group of one block is what a block of its own is", async () => {
  const rotate = { steps: 4 };
  const { files: own } = await compressFiles(storyFiles(), { rotate });
  const { files: grouped } = await compressFiles(storyFiles(), {
    rotate: { ...rotate, scope: "groups:4" },
  });
  const name = "model.safetensors";
  assert.is(Buffer.compare(own[name], grouped[name]), 0);
});

test("scopes that mean nothing are refused before any work", async () => {
  for (const [rotate, message] of [
    [
      { scope: "groups:0" },
      /scope is "groups:0", must be "block", "shared", "heads" or "groups:N"/,
    ],
    [{ scope: "all" }, /scope is "all", must be/],
    [{ scope: "groups:5" }, /more groups than the model has blocks \(4\); give groups:4/],
    [[{ steps: 5 }, { steps: 5 }], /it is a list; a model is rotated once/],
    [{ steps: -1 }, /steps is -1, must be a whole number/],
    [
      { scope: "heads", blockSize: 4 },
      /rotate: blockSize\].* heads alone are turned; leave it out/,
    ],
    [{ blockSize: 48 }, /blockSize is 48, must be a whole number that divides .* 128 columns/],
  ] as const) {
    await refused(() => compressFiles(storyFiles(), { rotate: rotate as object }), message);
  }
});

test("a recipe that only rotates removes nothing, and says so", async () => {
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(storyFiles()));
  const recipe = { version: 2, steps: [{ rotate: { scope: "heads", steps: 2 } }] } as const;
  const settings = { samples: 4, length: 32 };
  const given = { model, out, calibration: CALIBRATION, recipe: { ...recipe, ...settings } };
  const { layers, totals } = await compress({ ...given, threads: 1 }).result();
  assert.equal(layers, []);
  assert.is(totals.removed, 0);
});

test("a bias of a norm that has none is refused by name", async () => {
  const files = storyFiles();
  const { tensors } = parseWeights(files);
  const name = "model.layers.0.input_layernorm";
  const gain = tensors.get(`${name}.weight`)!;
  const model = await withWeights(files, new Map([...tensors, [`${name}.bias`, gain]]));
  await refused(
    () => compressFiles(model, { rotate: {} }),
    /model\.layers\.0\.input_layernorm\.bias is not part of a llama model/,
  );
});

test.run();
