import { suite } from "uvu";
import * as assert from "uvu/assert";
import { pruneLinear } from "../../src/prune.js";
import { goldenLayer } from "../golden.js";
import { note, sharedTest } from "../shared.js";

const test = suite("refit golden");

sharedTest(test, "the golden layer of 1024 x 1024", async () => {
  const layer = await goldenLayer("1024x1024");
  const { weight, rows, cols, activations, sequences } = layer;
  const given = { weight, rows, cols, activations, sequences, backend: "wasm" as const };
  const prune = (method: string, options: Record<string, number> = {}) =>
    pruneLinear({ ...given, method, sparsity: "2:4", options });
  const plain = await prune("sparsegpt");
  const errors: number[] = [];
  for (const iterations of [4, 10, 60]) {
    const fitted = await prune("sparsegpt", { refit: iterations });
    assert.equal(fitted.mask, plain.mask, "the mask is SparseGPT's");
    assert.is(fitted.figures.errorBeforeRefit, plain.layerError);
    assert.is(fitted.figures.errorAfterRefit, fitted.layerError);
    errors.push(fitted.layerError! / plain.layerError!);
  }
  const [four, ten, converged] = errors;
  note(
    `refit of SparseGPT's 2:4 on the golden 1024: ${errors.map((one) => one.toFixed(3)).join(", ")} of its error after 4, 10, 60 iterations`,
  );
  assert.ok(four <= 0.8, `${four}`);
  assert.ok(ten <= 0.75, `${ten}`);
  assert.ok(ten <= 1.02 * converged, `${ten / converged}`);
  const wanda = await prune("wanda", { refit: 10 });
  assert.ok(wanda.layerError! < plain.layerError!, "least squares make up for a plainer mask");
});

test.run();
