import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type PrunedLinear, pruneLinear } from "../../src/prune.js";
import { type GoldenLayer, goldenHessian, goldenLayer, SELECTION_METHODS } from "../golden.js";
import { note, sharedTest } from "../shared.js";
import { testBackends } from "../webgpu/adapter.js";

const test = suite("golden");

/** Layers on every backend; those of a few hundred thousand weights take a second on any. */
const SMALL = ["128x128", "128x128dead", "256x512", "512x256"];
const LARGE = ["768x768", "1024x1024"];
/** Columns that the original SparseGPT chooses over at a time. */
const BLOCK = 128;
/** Inputs of 128x128dead that are always zero and share a group of 4: which two go is a tie. */
const TIED_DEAD = 3;

/** The reference would take minutes for the Hessian of 1024 columns, a software GPU for any large. */
function layersOn(backendName: string): readonly string[] {
  if (backendName === "webgpu") return SMALL.slice(0, 2);
  return backendName === "reference" ? SMALL : [...SMALL, ...LARGE];
}

type Pattern = "24" | "50";

/**
 * The sparsity at which exactly the weights go that the originals remove. At 50% those of magnitude
 * (over the layer) and of SparseGPT (over each block of columns) are all up to a threshold: one
 * more than half, and all of its equals.
 */
function sparsityOf(method: string, pattern: Pattern, { rows, cols, results }: GoldenLayer) {
  if (pattern === "24") return "2:4";
  // The half weight keeps the product with the ratio from rounding to below a whole number.
  if (method === "magnitude") return 1 - (results.magnitude50.kept - 0.5) / (rows * cols);
  if (method === "sparsegpt") return 0.5 + 1.5 / (rows * BLOCK);
  return "50%";
}

const cases = new Map<string, Promise<GoldenLayer>>();

/** A layer, read once for all its tests. */
function layerOf(name: string): Promise<GoldenLayer> {
  const layer = cases.get(name) ?? goldenLayer(name);
  cases.set(name, layer);
  return layer;
}

function assertNear(actual: number, expected: number, relative: number, what: string): void {
  const error = Math.abs(actual / expected - 1);
  assert.ok(error <= relative, `${what} is ${actual}, not ${expected} within ${relative}`);
}

/** Columns whose inputs are always zero. */
function deadColumns({ activations, cols }: GoldenLayer): ReadonlySet<number> {
  const dead = new Set(Array.from({ length: cols }, (_, col) => col));
  activations.forEach((x, i) => {
    if (x !== 0) dead.delete(i % cols);
  });
  return dead;
}

/** Flat indices where the masks differ. */
function differences(mask: Uint8Array, expected: Uint8Array): number[] {
  assert.is(mask.length, expected.length);
  return [...mask.keys()].filter((i) => mask[i] !== expected[i]);
}

/** |w| of the kept weights in each group of 4, in order of size. */
function keptSizes(weight: Float32Array, mask: Uint8Array): string[] {
  return Array.from({ length: weight.length / 4 }, (_, group) => {
    const indices = [0, 1, 2, 3].map((i) => group * 4 + i);
    const kept = indices.filter((i) => mask[i] === 1).map((i) => Math.abs(weight[i]));
    return String(kept.sort((a, b) => a - b));
  });
}

/** Whether the original's choice among equal scores is its own: bf16 weights have equal ones. */
function hasTies(name: string, what: string): boolean {
  return LARGE.includes(name) && what === "magnitude24";
}

/** The masks are the same up to exact ties. Returns how many other bits differ. */
function assertMask(
  name: string,
  what: string,
  layer: GoldenLayer,
  { mask, weight }: PrunedLinear,
  expected: Uint8Array,
): number {
  if (hasTies(name, what)) {
    const [own, theirs] = [mask, expected].map((m) => keptSizes(layer.weight, m));
    const same = own.every((sizes, i) => sizes === theirs[i]);
    assert.ok(same, `${what}: the kept |w| differ by more than ties`);
    return 0;
  }
  // The golden masks of SparseGPT tell which weights are not 0, and those of dead inputs are.
  const isZeroed = name === "128x128dead" && what.startsWith("sparsegpt");
  const kept = isZeroed ? Uint8Array.from(weight, (w) => (w !== 0 ? 1 : 0)) : mask;
  let differing = differences(kept, expected);
  if (name === "128x128dead" && what === "wanda24") {
    const dead = deadColumns(layer);
    const deadInGroup = (i: number) => {
      const start = (i % layer.cols) - (i % 4);
      return [0, 1, 2, 3].filter((j) => dead.has(start + j)).length;
    };
    differing = differing.filter((i) => deadInGroup(i) < TIED_DEAD);
  }
  const share = differing.length / mask.length;
  assert.ok(share <= 1e-4, `${what}: ${differing.length} of ${mask.length} mask bits differ`);
  return differing.length;
}

let bits = 0;
let compared = 0;
let worstError = 0;

for (const [backendName, open] of testBackends) {
  const names = layersOn(backendName);
  for (const name of names) {
    sharedTest(test, `${name} on ${backendName}: what the original programs gave`, async () => {
      const layer = await layerOf(name);
      const backend = await open();
      const hessian = await goldenHessian(backend, layer);
      for (const method of SELECTION_METHODS) {
        for (const pattern of ["24", "50"] as const) {
          const what = method + pattern;
          const { rows, cols, weight, sequences } = layer;
          const sparsity = sparsityOf(method, pattern, layer);
          const pruned = await pruneLinear({
            weight,
            rows,
            cols,
            hessian,
            sequences,
            method,
            sparsity,
            backend,
          });
          const expected = await layer.mask(what);
          const result = layer.results[what];
          compared += expected.length;
          bits += assertMask(name, what, layer, pruned, expected);
          const error = pruned.layerError!;
          const tolerance = hasTies(name, what) ? 0.02 : 1e-4;
          assertNear(error, result.layer_error, tolerance, `${what}: layer error`);
          const gap = Math.abs(error / result.layer_error - 1);
          if (!hasTies(name, what)) worstError = Math.max(worstError, gap);
          assert.equal(
            pruned.weight.every((w, i) => w === 0 || pruned.mask[i] === 1),
            true,
            `${what}: a removed weight is not 0`,
          );
          const { predictedLoss } = pruned.figures;
          assert.is(predictedLoss !== undefined, method === "sparsegpt");
          if (predictedLoss !== undefined) {
            const losses = result.internal_error_sum_losses!;
            assertNear(predictedLoss, losses, 1e-4, `${what}: predicted loss`);
          }
          const stored = await layer.floats(`${what}.weight`);
          if (stored) assertWeights(what, layer.weight, pruned, stored);
        }
      }
      backend.dispose();
    });
  }
}

function assertWeights(
  what: string,
  original: Float32Array,
  { weight, mask }: PrunedLinear,
  expected: Float32Array,
): void {
  const largest = original.reduce((top, w) => Math.max(top, Math.abs(w)), 0);
  expected.forEach((w, i) => {
    if ((w !== 0 ? 1 : 0) !== mask[i]) return;
    const difference = Math.abs(weight[i] - w);
    assert.ok(difference <= 1e-4 * largest, `${what}: weight ${i} is ${weight[i]}, not ${w}`);
  });
}

sharedTest(test, "the figures", async () => {
  note(
    `${bits} of ${compared} mask bits differ from the originals' but for ties; layer errors by ${worstError.toExponential(1)} at most, relatively`,
  );
});

for (const [backendName, open] of testBackends) {
  sharedTest(test, `a Hessian in place of the activations, on ${backendName}`, async () => {
    const layer = await layerOf("128x128dead");
    const { rows, cols, weight, activations, sequences } = layer;
    const backend = await open();
    const hessian = await goldenHessian(backend, layer);
    for (const method of SELECTION_METHODS) {
      const problem = { weight, rows, cols, sequences, method, backend };
      const direct = await pruneLinear({ ...problem, activations });
      const indirect = await pruneLinear({ ...problem, hessian });
      assert.equal(differences(indirect.mask, direct.mask), [], method);
      assertNear(indirect.layerError!, direct.layerError!, 1e-5, `${method}: layer error`);
    }
    backend.dispose();
  });
}

test.run();
