import { suite } from "uvu";
import * as assert from "uvu/assert";
import { armor } from "../../src/methods/armor.js";
import { type PruneLinearOptions, pruneLinear } from "../../src/prune.js";
import { Random } from "../../src/random.js";

const test = suite("armor rounds");

const [rows, cols, tokens] = [32, 64, 192];
const random = new Random(3);
const normal = () => random.next() + random.next() + random.next() + random.next() - 2;
const weight = Float32Array.from({ length: rows * cols }, normal);
// Inputs that lean on one another, of which the Hessian knows and its diagonal does not.
const activations = Float32Array.from({ length: tokens * cols }, normal);
for (let i = 1; i < activations.length; i++) activations[i] += 0.8 * activations[i - 1];

function prune(options: Record<string, number>, more: Partial<PruneLinearOptions> = {}) {
  const given = { blockSize: 8, iterations: 60, learningRate: 1e-3, ...options };
  return pruneLinear({ weight, rows, cols, activations, method: "armor", options: given, ...more });
}

test("ARMOR as published reads column norms alone", () => {
  const options = { blockSize: 0, iterations: 1, learningRate: 1, patience: 1, damping: 1 };
  assert.equal(armor.needs({ ...options, rounds: 0 }), ["columnSquares"]);
  assert.equal(armor.needs({ ...options, rounds: 1 }), ["columnSquares", "hessian"]);
});

for (const backend of ["reference", "wasm"] as const) {
  test(`${backend}: rounds after the iterations lower the layer's error`, async () => {
    const alone = await prune({ rounds: 0 }, { backend });
    const { layerError, figures, mask } = await prune({ rounds: 6 }, { backend });
    // Without rounds nothing of them is reported.
    assert.is(alone.figures.rounds, undefined);
    assert.is(figures.proxyAfter, alone.figures.proxyAfter);
    assert.is(figures.rounds, 6);
    const near = (a: number, b: number) => assert.ok(Math.abs(a - b) <= 1e-3 * b, `${a} ${b}`);
    near(figures.errorBefore, alone.layerError!);
    near(figures.errorAfter, layerError!);
    assert.ok(layerError! < 0.7 * alone.layerError!, `${layerError} of ${alone.layerError}`);
    for (let group = 0; group < mask.length; group += 4) {
      assert.is(mask[group] + mask[group + 1] + mask[group + 2] + mask[group + 3], 2);
    }
  });
}

test("rounds without iterations start from NoWag-P", async () => {
  const nowag = await prune({ iterations: 0, rounds: 0 });
  const fitted = await prune({ iterations: 0, rounds: 3 });
  assert.is(fitted.figures.proxyAfter, nowag.figures.proxyBefore);
  assert.ok(fitted.layerError! < nowag.layerError!);
});

test("inputs that are always zero and weights that are all zero are survived", async () => {
  const dead = activations.map((x, i) => (i % cols === 5 ? 0 : x));
  const { layerError } = await prune({ rounds: 2 }, { activations: dead });
  assert.ok(Number.isFinite(layerError));
  const nothing = await prune({ rounds: 2 }, { weight: new Float32Array(rows * cols) });
  assert.is(nothing.layerError, 0);
  assert.ok(nothing.weight.every((value) => value === 0));
});

test("cancelled between the rounds", async () => {
  const controller = new AbortController();
  const run = prune({ iterations: 0, rounds: 100_000 }, { signal: controller.signal });
  setTimeout(() => controller.abort(new Error("enough")), 50);
  const failure = await run.catch((error: Error) => error);
  assert.is((failure as Error).message, "enough");
});

test.run();
