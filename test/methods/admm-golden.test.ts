import { suite } from "uvu";
import * as assert from "uvu/assert";
import { pruneLinear } from "../../src/prune.js";
import { goldenLayer } from "../golden.js";
import { note, sharedTest } from "../shared.js";

const test = suite("admm golden");

sharedTest(test, "the golden layer of 1024 x 1024", async () => {
  const { weight, rows, cols, activations, sequences } = await goldenLayer("1024x1024");
  const given = { weight, rows, cols, activations, sequences, backend: "wasm" as const };
  const errorOf = async (method: string, options = {}) =>
    (await pruneLinear({ ...given, method, sparsity: "2:4", options })).layerError!;
  const sparsegpt = await errorOf("sparsegpt");
  const alone = (await errorOf("admm")) / sparsegpt;
  const fitted = (await errorOf("admm", { refit: 10 })) / sparsegpt;
  note(
    `admm 2:4 on the golden 1024: ${alone.toFixed(3)} of SparseGPT's error, ${fitted.toFixed(3)} with refit`,
  );
  assert.ok(alone <= 0.7, `${alone}`);
  assert.ok(fitted <= alone, `${fitted}`);
});

test.run();
