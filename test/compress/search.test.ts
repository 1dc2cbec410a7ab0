import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import {
  type FlatRecipe,
  type RecipeStep,
  readRecipe,
  stepsOf,
} from "../../src/compress/recipe.js";
import { patternOf, planSearch, type RotateOptions } from "../../src/compress/transforms/rotate.js";
import { memoryFolder } from "../../src/platform/files.js";
import type { RotationLoss } from "../../src/rotation.js";
import { parseSparsity } from "../../src/sparsity.js";
import { refused } from "../checkpoint/crafted.js";
import { compressFiles, storyFiles } from "./stories.js";

const test = suite("what a recipe makes of a rotation");

test("the pattern is the sparsity's, for a share the nearest of 8", () => {
  const expected: Record<string, readonly [number, number]> = {
    "2:4": [2, 4],
    "1:16": [1, 16],
    "3:3": [3, 3],
    "50%": [4, 8],
    "70%": [2, 8],
    "30%": [6, 8],
    "1%": [7, 8],
    "99%": [1, 8],
    "0%": [8, 8],
  };
  for (const [text, [n, m]] of Object.entries(expected)) {
    assert.equal(patternOf(parseSparsity(text)), { n, m }, text);
  }
});

test("loss and objective follow from method and sparsity, unless they are given", () => {
  const of = (recipe: FlatRecipe, rotate: FlatRecipe["rotate"] = {}) => {
    const [{ options }, ...later] = stepsOf(readRecipe({ ...recipe, rotate }));
    const { loss, objective } = planSearch(options as unknown as RotateOptions, later);
    return `${loss} ${objective}`;
  };
  assert.is(of({ method: "sparsegpt" }), "removed magnitude");
  assert.is(of({ method: "magnitude" }), "removed magnitude");
  assert.is(of({ method: "wanda", sparsity: "50%" }), "removed wanda");
  assert.is(of({ method: "armor-hessian" }), "removed magnitude");
  assert.is(of({ method: "armor" }), "removed magnitude");
  assert.is(of({ method: "sparsegpt" }, { loss: "entropy" }), "entropy sparsegpt");
  assert.is(of({ method: "wanda" }, { loss: "entropy" }), "entropy sparsegpt");
  assert.is(of({ method: "nowag" }, { loss: "entropy" }), "entropy magnitude");
  assert.is(of({ method: "magnitude" }, { loss: "entropy" }), "entropy magnitude");
  assert.is(of({ method: "wanda" }, { objective: "sparsegpt" }), "removed sparsegpt");
  // What follows rounds, and nothing is removed.
  assert.is(of({ method: "gptq" }), "rounding wanda");
  assert.is(of({ method: "rtn" }), "rounding wanda");
  assert.is(of({ method: "rtn", options: { weighted: false } }), "rounding magnitude");
  assert.is(of({ method: "gptq" }, { loss: "removed" }), "removed magnitude");
  assert.is(of({ method: "wanda" }, { loss: "rounding" }), "rounding magnitude");
  // Nothing is removed.
  for (const sparsity of ["0%", "4:4"]) {
    assert.is(of({ method: "sparsegpt", sparsity }), "entropy sparsegpt");
  }
});

test("the grid that follows says what is rounded to, unless it is given", () => {
  const of = (steps: readonly RecipeStep[], asked?: object) => {
    const [{ options }, ...later] = stepsOf(readRecipe({ version: 2, steps }));
    const search = planSearch(options as unknown as RotateOptions, later, asked as never);
    const { loss, groupSize, power } = search;
    return `${loss} ${groupSize} ${power}`;
  };
  const [prune, rotate] = [{ prune: {} }, { rotate: {} }];
  assert.is(of([rotate, { quantize: {} }]), "rounding 32 8");
  assert.is(of([rotate, { quantize: { bits: 2, groupSize: 64 } }]), "rounding 64 4");
  assert.is(of([rotate, { quantize: { bits: 3, groupSize: "row" } }]), "rounding row 8");
  assert.is(of([rotate, { quantize: { kType: "Q6_K" } }]), "rounding 16 8");
  assert.is(of([rotate, { quantize: {} }], { kType: "Q4_K" }), "rounding 32 8");
  assert.is(of([rotate, { quantize: {} }], { bits: 8, groupSize: 32 }), "rounding 32 8");
  assert.is(of([rotate, prune, { quantize: { bits: 2 } }]), "removed 32 4");
  assert.is(of([rotate]), "removed 32 8");
  const given = { rotate: { groupSize: 16, power: 4, loss: "entropy" } } as const;
  assert.is(of([given, { quantize: {} }]), "entropy 16 4");
  const wrong = () => readRecipe({ version: 2, steps: [{ rotate: { power: 6 } }] });
  assert.throws(wrong, /rotate.*power is 6, must be 2, 4, 8 or 16/);
});

test("the sparsity reaches the search, and decides its way unless the loss is the entropy", async () => {
  const rotation = async (sparsity: string, loss: RotationLoss) => {
    const { files } = await compressFiles(storyFiles(), {
      method: "magnitude",
      sparsity,
      samples: 2,
      length: 16,
      rotate: { steps: 2, loss, objective: "magnitude" },
    });
    const checkpoint = await openCheckpoint(memoryFolder(files));
    return checkpoint.readFloat32("model.layers.0.input_rotation");
  };
  assert.equal(await rotation("2:4", "entropy"), await rotation("1:4", "entropy"));
  assert.equal(await rotation("2:4", "removed"), await rotation("2:4", "removed"));
  assert.not.equal(await rotation("2:4", "removed"), await rotation("1:4", "removed"));
  assert.equal(await rotation("4:8", "removed"), await rotation("50%", "removed"));
});

test("a loss that there is not is refused", async () => {
  const rotate = { loss: "l1" } as unknown as FlatRecipe["rotate"];
  await refused(
    () => compressFiles(storyFiles(), { rotate }),
    /recipe: rotate.*loss is "l1", must be "removed", "entropy" or "rounding"/,
  );
});

test.run();
