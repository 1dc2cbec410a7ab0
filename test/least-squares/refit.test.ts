import { suite } from "uvu";
import * as assert from "uvu/assert";
import { refit } from "../../src/least-squares/refit.js";
import { Random } from "../../src/random.js";
import { OPENERS } from "../backends/operands.js";
import { refused } from "../checkpoint/crafted.js";
import { compressFiles, storyFiles } from "../compress/stories.js";

const test = suite("refit");

const [ROWS, COLS, TOKENS] = [6, 12, 40];
/** An input that is always zero. */
const DEAD = 5;

interface Problem {
  readonly weight: Float32Array;
  readonly target: Float32Array;
  readonly mask: Uint8Array;
  readonly hessian: Float32Array;
}

function problem(seed: number): Problem {
  const random = new Random(seed);
  const values = (count: number) =>
    Float32Array.from({ length: count }, () => 2 * random.next() - 1);
  const inputs = values(TOKENS * COLS).map((x, i) =>
    i % COLS === DEAD ? 0 : x * (1 + (i % COLS)),
  );
  const hessian = new Float32Array(COLS * COLS);
  for (let i = 0; i < hessian.length; i++) {
    const [row, col] = [Math.floor(i / COLS), i % COLS];
    for (let t = 0; t < TOKENS; t++) hessian[i] += inputs[t * COLS + row] * inputs[t * COLS + col];
  }
  const target = values(ROWS * COLS);
  const mask = Uint8Array.from({ length: ROWS * COLS }, () => Number(random.next() < 0.5));
  return { target, mask, hessian, weight: target.map((value, i) => value * mask[i]) };
}

/** The minimum over a row's kept weights of (w - t) H' (w - t)ᵀ, H' = H + damping diag(H), in float64. */
function exactRow({ target, mask, hessian }: Problem, row: number, damping: number): Float64Array {
  const at = (i: number, j: number) => hessian[i * COLS + j] * (i === j ? 1 + damping : 1);
  const kept = Array.from({ length: COLS }, (_, j) => j).filter(
    (j) => mask[row * COLS + j] === 1 && hessian[j * (COLS + 1)] > 0,
  );
  const n = kept.length;
  const rows = kept.map((i) => {
    let right = 0;
    for (let j = 0; j < COLS; j++) right += at(i, j) * target[row * COLS + j];
    return [...kept.map((j) => at(i, j)), right];
  });
  for (let i = 0; i < n; i++) {
    for (let r = i + 1; r < n; r++) {
      const factor = rows[r][i] / rows[i][i];
      for (let c = i; c <= n; c++) rows[r][c] -= factor * rows[i][c];
    }
  }
  const out = new Float64Array(COLS);
  for (let i = n - 1; i >= 0; i--) {
    let sum = rows[i][n];
    for (let c = i + 1; c < n; c++) sum -= rows[i][c] * out[kept[c]];
    out[kept[i]] = sum / rows[i][i];
  }
  return out;
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  const { name } = backend;
  const run = async (given: Problem, iterations: number) => {
    const matrix = (values: Float32Array | Uint8Array) => backend.upload(values, [ROWS, COLS]);
    const [weight, target, mask] = [given.weight, given.target, given.mask].map(matrix);
    const hessian = backend.upload(given.hessian, [COLS, COLS]);
    await refit(backend, { weight, target, mask, hessian, iterations });
    const values = (await backend.read(weight)) as Float32Array;
    for (const tensor of [weight, target, mask, hessian]) tensor.dispose();
    return values;
  };

  test(`${name}: comes to the least squares of each row's kept weights`, async () => {
    for (const seed of [1, 2, 3]) {
      const given = problem(seed);
      const found = await run(given, 40);
      for (let row = 0; row < ROWS; row++) {
        const expected = exactRow(given, row, 0.01);
        for (let col = 0; col < COLS; col++) {
          const i = row * COLS + col;
          // A weight whose input says nothing stays.
          const wanted = col === DEAD ? given.weight[i] : expected[col];
          assert.ok(Math.abs(found[i] - wanted) < 2e-3, `${seed}, ${i}: ${found[i]} ${wanted}`);
          if (given.mask[i] === 0) assert.is(found[i], 0);
        }
      }
    }
  });

  test(`${name}: of a full mask it comes to the target, from anywhere`, async () => {
    const given = problem(4);
    const all = new Uint8Array(ROWS * COLS).fill(1);
    const found = await run({ ...given, mask: all }, 60);
    given.target.forEach((value, i) => {
      const wanted = i % COLS === DEAD ? given.weight[i] : value;
      assert.ok(Math.abs(found[i] - wanted) < 2e-3, `${i}: ${found[i]} ${wanted}`);
    });
    const zero = { ...given, target: given.weight };
    assert.equal(
      [...(await run(zero, 5))].map(Math.fround),
      [...(await run(zero, 1))].map(Math.fround),
      "what is already there stays",
    );
  });
}

test("a method that fits its factors itself is refused", async () => {
  await refused(
    () => compressFiles(storyFiles(), { method: "armor", refit: 4 }),
    /^\[recipe: refit\] armor fits what it keeps by itself; leave refit out/,
  );
});

test("rows that are fitted apart come out the same, bit for bit", async () => {
  const random = new Random(11);
  const [rows, cols] = [150, 48];
  const values = (count: number) =>
    Float32Array.from({ length: count }, () => 2 * random.next() - 1);
  const inputs = values(200 * cols);
  const target = values(rows * cols);
  const mask = Uint8Array.from({ length: rows * cols }, () => Number(random.next() < 0.5));
  for (const open of OPENERS) {
    const backend = await open();
    const fitted = async (together?: number) => {
      const hessian = backend.zeros([cols, cols]);
      backend.ops.accumulateHessian(backend.upload(inputs, [200, cols]), hessian, 1);
      const weight = backend.upload(
        target.map((value, i) => value * mask[i]),
        [rows, cols],
      );
      const given = { weight, target: backend.upload(target, [rows, cols]), hessian };
      const kept = backend.upload(mask, [rows, cols]);
      await refit(backend, { ...given, mask: kept, iterations: 5, together });
      return backend.read(weight);
    };
    assert.equal(await fitted(64 * cols), await fitted(), open.name);
    backend.dispose();
  }
});

test.run();
