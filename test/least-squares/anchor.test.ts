import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { anchoredTarget } from "../../src/least-squares/anchor.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { pruneLinear } from "../../src/prune.js";
import { Random } from "../../src/random.js";
import { OPENERS } from "../backends/operands.js";
import { refused } from "../checkpoint/crafted.js";
import { compressFiles, storyFiles } from "../compress/stories.js";

const test = suite("anchor");

const [ROWS, COLS, TOKENS] = [5, 8, 200];
const random = new Random(7);
const normal = (count: number) => Float32Array.from({ length: count }, () => 2 * random.next() - 1);

/** a [m, k] times b [k, n], in float64. */
function product(a: ArrayLike<number>, b: ArrayLike<number>, k: number): Float64Array {
  const [m, n] = [a.length / k, b.length / k];
  return Float64Array.from({ length: m * n }, (_, i) => {
    const [row, col] = [Math.floor(i / n), i % n];
    let sum = 0;
    for (let j = 0; j < k; j++) sum += a[row * k + j] * b[j * n + col];
    return sum;
  });
}

function transposed(a: ArrayLike<number>, cols: number): Float64Array {
  const rows = a.length / cols;
  return Float64Array.from(
    { length: a.length },
    (_, i) => a[(i % rows) * cols + Math.floor(i / rows)],
  );
}

/** A X = B by elimination with pivots; a [n, n], b [n, cols]. */
function solve(a: Float64Array, b: Float64Array, n: number): Float64Array {
  const cols = b.length / n;
  const [left, right] = [a.slice(), b.slice()];
  for (let i = 0; i < n; i++) {
    let pivot = i;
    for (let r = i; r < n; r++) {
      if (Math.abs(left[r * n + i]) > Math.abs(left[pivot * n + i])) pivot = r;
    }
    for (const [matrix, width] of [
      [left, n],
      [right, cols],
    ] as const) {
      for (let c = 0; c < width; c++) {
        const kept = matrix[i * width + c];
        matrix[i * width + c] = matrix[pivot * width + c];
        matrix[pivot * width + c] = kept;
      }
    }
    for (let r = 0; r < n; r++) {
      if (r === i) continue;
      const factor = left[r * n + i] / left[i * n + i];
      for (let c = 0; c < n; c++) left[r * n + c] -= factor * left[i * n + c];
      for (let c = 0; c < cols; c++) right[r * cols + c] -= factor * right[i * cols + c];
    }
  }
  return right.map((value, i) => value / left[Math.floor(i / cols) * (n + 1)]);
}

const weight = normal(ROWS * COLS);
const dense = normal(TOKENS * COLS);
/** Invertible and far from symmetric. */
const turn = normal(COLS * COLS).map((value, i) => value * 0.5 + (i % (COLS + 1) === 0 ? 2 : 0));
const moved = Float32Array.from(product(dense, turn, COLS));
/** What the residual stream lacks that the outputs are added to. */
const lacking = normal(TOKENS * ROWS);

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  const { name } = backend;
  const upload = (values: ArrayLike<number>, cols: number) =>
    backend.upload(Float32Array.from(values), [values.length / cols, cols]);
  const target = async (
    inputs: Float32Array,
    compressed: Float32Array,
    anchor: number,
    anchorResidual = 0,
    anchorDamping?: number,
  ) => {
    const tensors = [
      upload(weight, COLS),
      upload(product(transposed(compressed, COLS), compressed, TOKENS), COLS),
      upload(product(transposed(inputs, COLS), compressed, TOKENS), COLS),
      upload(product(transposed(lacking, ROWS), compressed, TOKENS), COLS),
    ];
    const [w, hessian, crossMoment, residualMoment] = tensors;
    const found = await anchoredTarget(backend, {
      ...{ name, weight: w, hessian, crossMoment, anchor },
      ...{ residualMoment, anchorResidual, anchorDamping },
    });
    const values = (await backend.read(found)) as Float32Array;
    for (const tensor of [...tensors, found]) tensor.dispose();
    return values;
  };

  test(`${name}: equals the formula, damping included, at every strength`, async () => {
    const hessian = product(transposed(moved, COLS), moved, TOKENS);
    const cross = product(transposed(dense, COLS), moved, TOKENS);
    const missing = product(transposed(lacking, ROWS), moved, TOKENS);
    for (const [anchor, residual, given] of [
      [0.25, 0],
      [1, 0],
      [0, 0.5],
      [0.5, 1],
      [0.5, 1, 0.5],
      [1, 0, 1e-4],
    ]) {
      const damping = given ?? 0.01;
      const damped = hessian.map((h, i) => (i % (COLS + 1) === 0 ? (1 + damping) * h : h));
      const wanted = hessian.map((h, i) => {
        const raised = i % (COLS + 1) === 0 ? damping * h : 0;
        return (1 - anchor) * h + anchor * cross[i] + raised;
      });
      // W* = (W C_a + d W diag(H)) (H + d diag(H))⁻¹, so W*ᵀ solves with the symmetric matrix.
      const full = product(weight, wanted, COLS).map((value, i) => value + residual * missing[i]);
      const right = transposed(full, COLS);
      const expected = transposed(solve(damped, right, COLS), ROWS);
      (await target(dense, moved, anchor, residual, given)).forEach((value, i) => {
        assert.ok(Math.abs(value - expected[i]) < 2e-5, `${anchor}, ${i}: ${value} ${expected[i]}`);
      });
    }
  });

  test(`${name}: undoes what an invertible matrix did to the inputs, but for the damping`, async () => {
    // X̂ = X A, so X Wᵀ = X̂ (W A⁻ᵀ)ᵀ; with C in the place of its transpose this comes out otherwise.
    const expected = transposed(
      solve(Float64Array.from(turn), transposed(weight, COLS), COLS),
      ROWS,
    );
    const found = await target(dense, moved, 1);
    const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
      Math.hypot(...Array.from(a, (value, i) => value - b[i])) / Math.hypot(...Array.from(b));
    assert.ok(distance(found, expected) < 0.02, `${distance(found, expected)}`);
    assert.ok(distance(weight, expected) > 0.3);
  });

  test(`${name}: inputs that did not change leave the weight as it is`, async () => {
    (await target(dense, dense, 1)).forEach((value, i) => {
      assert.ok(Math.abs(value - weight[i]) < 2e-6);
    });
  });
}

test("a linear is pruned towards what it computed in the dense model", async () => {
  const layer = { weight, rows: ROWS, cols: COLS, activations: moved, method: "sparsegpt" };
  const lost = async (anchor: number) => {
    const given = { ...layer, denseActivations: dense, backend: "wasm" as const };
    const { weight: pruned, figures } = await pruneLinear({ ...given, options: { anchor } });
    const [wanted, got] = [
      product(dense, transposed(weight, COLS), COLS),
      product(moved, transposed(pruned, COLS), COLS),
    ];
    assert.is("anchoredError" in figures, anchor > 0);
    return Math.hypot(...wanted.map((value, i) => value - got[i]));
  };
  assert.ok((await lost(1)) < 0.75 * (await lost(0)));
  await refused(
    () => pruneLinear({ ...layer, options: { anchor: 0.5 } }),
    /^\[pruneLinear\] anchor compares the layer's inputs with those of the dense model; give them as activations and denseActivations\./,
  );
  await refused(
    () => pruneLinear({ ...layer, denseActivations: dense.subarray(COLS) }),
    /^\[pruneLinear\] denseActivations have 1592 elements, must have as many as activations, which are 1600\./,
  );
});

test("more damping keeps a linear nearer to its own weight, and without an anchor does nothing", async () => {
  const layer = { weight, rows: ROWS, cols: COLS, activations: moved, denseActivations: dense };
  const made = async (options: Record<string, number>) =>
    (await pruneLinear({ ...layer, method: "magnitude", backend: "wasm", options })).layerError!;
  const [bare, least, some, most] = [
    await made({ anchor: 1 }),
    await made({ anchor: 1, anchorDamping: 0.01 }),
    await made({ anchor: 1, anchorDamping: 1 }),
    await made({ anchor: 1, anchorDamping: 100 }),
  ];
  assert.is(least, bare);
  assert.ok(most < some && some < least, `${least} ${some} ${most}`);
  assert.is(await made({ anchorDamping: 100 }), await made({}));
});

test("its damping goes through recipes, layer by layer", async () => {
  const recipe = { method: "magnitude", anchor: 0.5 };
  const errors = async (more: object) => {
    const { result } = await compressFiles(storyFiles(), { ...recipe, ...more });
    return result.layers.map(({ figures }) => figures.anchoredError);
  };
  const [bare, last] = [
    await errors({}),
    await errors({ overrides: [{ match: "model.layers.3.mlp.down_proj", anchorDamping: 1 }] }),
  ];
  assert.equal(last.slice(0, -1), bare.slice(0, -1));
  assert.is.not(last.at(-1), bare.at(-1));
  await refused(
    () => compressFiles(storyFiles(), { ...recipe, anchorDamping: 0 }),
    /^\[recipe\] anchorDamping is 0, must be a number above 0 and at most 100/,
  );
});

test("statistics of the dense model leave nothing to make up for, and are refused", async () => {
  await refused(
    () => compressFiles(storyFiles(), { anchor: 0.5, statistics: "dense" }),
    /^\[anchor\] with `statistics: dense` every layer's inputs are the dense model's/,
  );
  await refused(
    () => compressFiles(storyFiles(), { anchor: 1.5 }),
    /^\[recipe\] anchor is 1\.5, must be a number from 0 to 1/,
  );
});

test("the first block's target is its weight, and later ones' errors are told", async () => {
  const { result } = await compressFiles(storyFiles(), { method: "magnitude", anchor: 0.5 });
  const plain = await compressFiles(storyFiles(), { method: "magnitude" });
  const near = (a: number, b: number) => assert.ok(Math.abs(a / b - 1) < 1e-3, `${a} ${b}`);
  for (const [i, { layerError, figures }] of result.layers.entries()) {
    assert.ok(figures.anchoredError > 0);
    // The embedding stands before the first block in both models.
    if (i < 7) near(layerError!, plain.result.layers[i].layerError!);
    if (i < 7) near(figures.anchoredError, layerError!);
  }
});

test("an anchor or a refit without a text is refused, as its method may need none", async () => {
  for (const own of [{ anchor: 0.25 }, { refit: 4 }]) {
    const [name] = Object.keys(own);
    await refused(
      async () =>
        compress({
          model: await openCheckpoint(memoryFolder(storyFiles())),
          out: memoryOutputFolder(),
          recipe: { method: "magnitude", ...own },
        }).result(),
      new RegExp(
        `^\\[calibration\\] ${name} reads what goes into each layer; .*, or leave it out\\.$`,
      ),
    );
  }
});

test.run();
