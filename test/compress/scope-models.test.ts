import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { note, sharedPath, sharedTest } from "../shared.js";
import { NOTHING, near, perplexity, SHORT, tensorNames } from "./scope.js";
import { compressFiles, modelFiles } from "./stories.js";

const test = suite("rotations that blocks share, of models");

sharedTest(test, "heads: on a model whose values lie askew SparseGPT loses less", async () => {
  const read = (name: string) => readFileSync(sharedPath("data", "tinystories", name), "utf8");
  const model = modelFiles(sharedPath("models", "stories260k"));
  const calibration = read("train-slice.txt").slice(0, 40_000);
  const [plain, turned] = await Promise.all(
    [SHORT, { ...SHORT, rotate: { scope: "heads" } }].map(async (recipe) => {
      const { files } = await compressFiles(model, recipe, { calibration });
      return perplexity(files, read("val.txt").slice(0, 20_000));
    }),
  );
  note(`SparseGPT keeps perplexity ${plain.toFixed(2)}, behind turned heads ${turned.toFixed(2)}`);
  assert.ok(turned < 0.98 * plain, `${turned} with the rotation, ${plain} without`);
});

sharedTest(test, "a tied head that is stored alone comes apart as well", async () => {
  const text = readFileSync(sharedPath("data", "tinystories", "val.txt"), "utf8").slice(0, 4000);
  const model = modelFiles(sharedPath("models", "tinystories-656k"));
  assert.is((await tensorNames(model)).includes("model.embed_tokens.weight"), false);
  const rotate = { scope: "shared", steps: 2, objective: "wanda" as const };
  const { files } = await compressFiles(model, { ...NOTHING, rotate });
  const names = await tensorNames(files);
  assert.ok(names.includes("model.embed_tokens.weight") && names.includes("lm_head.weight"));
  near(await perplexity(files, text), await perplexity(model, text), 1e-5);
});

test.run();
