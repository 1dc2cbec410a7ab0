import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openReference } from "../../src/backends/reference.js";
import {
  assertWithin,
  EPSILON,
  input,
  OPENERS,
  output,
  random,
  randomValues,
  seed,
} from "./operands.js";

const test = suite("core-sweep");

/** [rows, cols, size of A's blocks]: around the tile of 128 columns, blocks of any size. */
const SHAPES: readonly (readonly [number, number, number])[] = [
  [0, 8, 4],
  [1, 4, 1],
  [3, 8, 3],
  [8, 36, 4],
  [10, 128, 5],
  [6, 132, 3],
  [8, 260, 8],
  [34, 64, 17],
];

/** M Mᵀ / n + n/8 on the diagonal, symmetric to the last bit. */
function definite(n: number): Float32Array {
  const m = randomValues(n * n);
  const out = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = i === j ? 0.125 : 0;
      for (let k = 0; k < n; k++) sum += (m[i * n + k] * m[j * n + k]) / n;
      out[i * n + j] = sum;
      out[j * n + i] = out[i * n + j];
    }
  }
  return out;
}

interface Problem {
  readonly rows: number;
  readonly cols: number;
  readonly a: number;
  /** Where f has its smallest value without the pattern. */
  readonly target: Float32Array;
  readonly core: Float32Array;
  readonly mask: Uint8Array;
  readonly gram: Float32Array;
  readonly hessian: Float32Array;
}

function problemOf(rows: number, cols: number, a: number): Problem {
  const mask = new Uint8Array(rows * cols);
  for (let group = 0; group < mask.length; group += 4) {
    const first = Math.floor(4 * random());
    mask[group + first] = 1;
    mask[group + ((first + 1 + Math.floor(3 * random())) % 4)] = 1;
  }
  const target = randomValues(rows * cols);
  const blocks = Array.from({ length: rows / a }, () => [...definite(a)]);
  return {
    ...{ rows, cols, a, target, mask },
    core: target.map((w, i) => w * mask[i] * random()),
    gram: Float32Array.from(blocks.flat()),
    hessian: definite(cols),
  };
}

/** G (S - W) H in float64: half the gradient of f(S) = tr(G (S - W) H (S - W)ᵀ). */
function gradientAt({ rows, cols, a, target, gram, hessian }: Problem, core: Float32Array) {
  const turned = new Float64Array(rows * cols);
  const out = new Float64Array(rows * cols);
  for (let i = 0; i < rows * cols; i++) {
    const [row, col] = [Math.floor(i / cols), i % cols];
    for (let j = 0; j < cols; j++) {
      turned[i] += (core[row * cols + j] - target[row * cols + j]) * hessian[j * cols + col];
    }
  }
  for (let i = 0; i < rows * cols; i++) {
    const [row, col] = [Math.floor(i / cols), i % cols];
    const block = row - (row % a);
    for (let k = 0; k < a; k++) out[i] += gram[row * a + k] * turned[(block + k) * cols + col];
  }
  return out;
}

function lossAt(problem: Problem, core: Float32Array): number {
  const gradient = gradientAt(problem, core);
  return core.reduce((sum, s, i) => sum + gradient[i] * (s - problem.target[i]), 0);
}

async function sweep(backend: Backend, problem: Problem, backwards: boolean) {
  const { cols, a } = problem;
  const core = output(backend, problem.core, cols);
  const mask = output(backend, problem.mask, cols);
  const gradient = output(backend, Float32Array.from(gradientAt(problem, problem.core)), cols);
  const blocks = backend.upload(problem.gram, [problem.gram.length / (a * a), a, a]);
  const hessian = input(backend, problem.hessian, cols);
  const options = { backwards };
  const operands = [core.view, mask.view, gradient.view, blocks, hessian] as const;
  const fall = await backend.ops.coreSweep(...operands, options);
  await gradient.read();
  return { fall, core: await core.read(), mask: await mask.read() };
}

/** By how much f could fall by changing one group alone, over all its pairs of places. */
function bestGain(problem: Problem, core: Float32Array, at: number): number {
  const { cols, a, gram, hessian } = problem;
  const gradient = gradientAt(problem, core);
  const [row, col] = [Math.floor(at / cols), at % cols];
  const norm = gram[row * a + (row % a)];
  const h = (x: number, y: number) => norm * hessian[(col + x) * cols + col + y];
  let best = 0;
  for (let x = 0; x < 4; x++) {
    for (let y = x + 1; y < 4; y++) {
      // The change to zero first, then the two values from there.
      const d = [0, 1, 2, 3].map((i) => {
        const moved = [0, 1, 2, 3].map((j) => h(i, j) * core[at + j]);
        return gradient[at + i] - moved.reduce((sum, value) => sum + value, 0);
      });
      const zeroed = [0, 1, 2, 3].reduce(
        (sum, i) => sum - core[at + i] * (gradient[at + i] + d[i]),
        0,
      );
      const determinant = h(x, x) * h(y, y) - h(x, y) ** 2;
      const solved =
        (h(y, y) * d[x] ** 2 - 2 * h(x, y) * d[x] * d[y] + h(x, x) * d[y] ** 2) / determinant;
      best = Math.max(best, solved - zeroed);
    }
  }
  return best;
}

for (const open of OPENERS) {
  for (const backwards of [false, true]) {
    test(`${open.name}: ${backwards ? "backwards" : "forwards"}, f falls by what it says`, async () => {
      const backend = await open();
      for (const shape of SHAPES) {
        const problem = problemOf(...shape);
        const { fall, core, mask } = await sweep(backend, problem, backwards);
        const [before, after] = [problem.core, core].map((values) => lossAt(problem, values));
        const what = `${shape} seed ${seed}`;
        assertWithin([fall], [before - after], () => 1e-4 * before, what);
        if (problem.rows > 0) assert.ok(fall > 0, what);
        assert.ok(
          core.every((s, i) => mask[i] === 1 || s === 0),
          what,
        );
        for (let group = 0; group < mask.length; group += 4) {
          assert.is(mask[group] + mask[group + 1] + mask[group + 2] + mask[group + 3], 2);
        }
      }
      backend.dispose();
    });

    test(`${open.name}: ${backwards ? "backwards" : "forwards"}, the last groups are at their best`, async () => {
      const backend = await open();
      for (const shape of SHAPES.slice(1)) {
        const problem = problemOf(...shape);
        const { core } = await sweep(backend, problem, backwards);
        const { rows, cols, a } = problem;
        // Nothing changed after the last row of a block had its last group.
        for (let row = a - 1; row < rows; row += a) {
          const at = row * cols + (backwards ? 0 : cols - 4);
          const gain = bestGain(problem, core, at);
          assert.ok(gain <= 1e-4 * lossAt(problem, problem.core), `${shape}: ${gain} is left`);
        }
      }
      backend.dispose();
    });
  }

  test(`${open.name}: a row that A ignores stays as it is`, async () => {
    const backend = await open();
    const problem = problemOf(4, 16, 2);
    for (const i of [2, 3, 5]) problem.gram[i === 5 ? 1 : i] = 0;
    const { core, mask } = await sweep(backend, problem, false);
    assert.equal(core.slice(16, 32), problem.core.slice(16, 32));
    assert.equal(mask.slice(16, 32), problem.mask.slice(16, 32));
    assert.not.equal(core.slice(0, 16), problem.core.slice(0, 16));
    backend.dispose();
  });
}

test("all backends go the same way", async () => {
  const problem = problemOf(16, 200, 4);
  const [reference, ...others] = await Promise.all(
    [openReference, ...OPENERS].map(async (open) => {
      const backend = await open();
      const result = await sweep(backend, problem, false);
      backend.dispose();
      return result;
    }),
  );
  for (const { mask, core } of others) {
    assert.equal(mask, reference.mask);
    assertWithin(core, reference.core, () => 1e4 * EPSILON, `seed ${seed}`);
  }
});

test.run();
