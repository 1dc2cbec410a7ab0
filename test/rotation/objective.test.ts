import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { BlockObjective } from "../../src/rotation/objective.js";
import {
  ROTATION_LOSSES,
  type RotationLoss,
  type RotationObjective,
  type RotationPattern,
} from "../../src/rotation.js";
import { OPENERS, seed } from "../backends/operands.js";
import { type Case, matrix, oracle } from "./oracle.js";
import {
  type BlockShape,
  problemOf,
  type RandomBlock,
  randomBlock,
  randomOrthogonal,
} from "./random.js";

const test = suite("rotation objective");

const SHAPES: readonly BlockShape[] = [
  { hidden: 6, heads: 4, kvHeads: 2, headDim: 3, intermediate: 5 },
  { hidden: 7, heads: 1, kvHeads: 1, headDim: 2, intermediate: 9 },
  { hidden: 5, heads: 3, kvHeads: 3, headDim: 4, intermediate: 1 },
];
const OBJECTIVES: readonly { objective: RotationObjective; scoreDamping: number }[] = [
  { objective: "magnitude", scoreDamping: 0 },
  { objective: "wanda", scoreDamping: 0 },
  { objective: "sparsegpt", scoreDamping: 0 },
  { objective: "sparsegpt", scoreDamping: 0.01 },
];
/** Options of an objective that needs the Hessians. */
const SPARSEGPT = {
  loss: "entropy",
  objective: "sparsegpt",
  damping: 0.01,
  scoreDamping: 0,
} as const;
/** Rows that the pattern divides, and rows that it does not. */
const REMOVED: readonly Omit<Case, "objective" | "scoreDamping">[] = [
  {
    shape: { hidden: 8, heads: 4, kvHeads: 2, headDim: 3, intermediate: 12 },
    hidden: [2, 4],
    heads: [2, 4],
    intermediate: [2, 4],
  },
  {
    shape: { hidden: 6, heads: 1, kvHeads: 1, headDim: 2, intermediate: 8 },
    pattern: { n: 3, m: 4 },
    hidden: [1, 2],
    heads: [1, 2],
    intermediate: [3, 4],
  },
  {
    shape: { hidden: 16, heads: 3, kvHeads: 3, headDim: 4, intermediate: 8 },
    pattern: { n: 3, m: 8 },
    hidden: [3, 8],
    heads: [2, 4],
    intermediate: [3, 8],
  },
];
/** Groups that divide the rows, that do not, and whole rows. */
const ROUNDING: readonly Omit<Case, "objective" | "scoreDamping">[] = [
  { shape: SHAPES[0], groupSize: 4, power: 8 },
  { shape: SHAPES[1], groupSize: "row", power: 4 },
  { shape: SHAPES[2], groupSize: 2, power: 16 },
];
/** Cases of each loss. */
const CASES: Readonly<Record<RotationLoss, readonly Omit<Case, "objective" | "scoreDamping">[]>> = {
  entropy: SHAPES.map((shape) => ({ shape })),
  removed: REMOVED,
  rounding: ROUNDING,
};
/** Of the central differences: so small that hardly ever another weight is removed within it. */
const WIDTH = 1e-7;

/** Rotations of a case, what the loss is there by its definition, and its slopes along each element. */
interface Expected {
  readonly q: Float32Array;
  readonly r2: Float32Array;
  readonly loss: number;
  readonly slopes: { readonly q: readonly number[]; readonly r2: readonly number[] };
}

const known = new Map<string, Expected>();

/** The same for every backend, so computed once. */
function expectedOf(block: RandomBlock, c: Case, headsOnly: boolean): Expected {
  const key = JSON.stringify([c, headsOnly]);
  const found = known.get(key);
  if (found) return found;
  const { hidden, kvHeads, headDim } = c.shape;
  const q = Float32Array.from(randomOrthogonal(hidden, seed));
  const r2 = Float32Array.from(
    Array.from({ length: kvHeads }, (_, h) => [...randomOrthogonal(headDim, seed + h)]).flat(),
  );
  const exact = (qs: ArrayLike<number>, r2s: ArrayLike<number>) =>
    oracle(block, c, headsOnly ? undefined : matrix(qs, hidden), matrix(r2s, headDim));
  const slopes = (data: Float32Array, f: (moved: Float64Array) => number) =>
    Array.from(data, (_, at) => {
      const [up, down] = [Float64Array.from(data), Float64Array.from(data)];
      up[at] += WIDTH;
      down[at] -= WIDTH;
      return (f(up) - f(down)) / (2 * WIDTH);
    });
  const expected: Expected = {
    ...{ q, r2, loss: exact(q, r2) },
    slopes: {
      q: headsOnly ? [] : slopes(q, (moved) => exact(moved, r2)),
      r2: slopes(r2, (moved) => exact(q, moved)),
    },
  };
  known.set(key, expected);
  return expected;
}

async function againstDifferences(
  backend: Backend,
  loss: RotationLoss,
  c: Case,
  title: string,
  headsOnly: boolean,
): Promise<void> {
  const what = `${title} seed ${seed}`;
  const { objective, scoreDamping, pattern, groupSize, power, shape } = c;
  const { hidden, kvHeads, headDim } = shape;
  const block = randomBlock(shape, seed);
  const expected = expectedOf(block, c, headsOnly);
  const own = { pattern, groupSize, power };
  const options = { objective, loss, ...own, damping: 0.01, scoreDamping, headsOnly };
  const opened = await BlockObjective.open(backend, problemOf(backend, block), options);
  assert.equal(opened.notes, []);
  const q = headsOnly ? undefined : backend.upload(expected.q, [hidden, hidden]);
  const r2 = backend.upload(expected.r2, [kvHeads * headDim, headDim]);
  // What stands in Q's gradient is added to, what stands in R2's is not.
  const gradients = {
    q: q && backend.upload(new Float32Array(q.size).fill(1), q.shape),
    r2: backend.upload(new Float32Array(r2.size).fill(Number.NaN), r2.shape),
  };
  const actual = await opened.loss({ q, r2 }, gradients, true);
  const off = Math.abs(actual / expected.loss - 1);
  assert.ok(off < 2e-6, `${what}: ${actual}, not ${expected.loss}`);

  const near = (slope: number, by: number, where: string) =>
    assert.ok(
      Math.abs(slope - by) < 2e-4 * (1 + Math.abs(by)),
      `${what} ${where}: ${slope} is not ${by}`,
    );
  const gq = gradients.q ? ((await backend.read(gradients.q)) as Float32Array) : [];
  const gr = (await backend.read(gradients.r2)) as Float32Array;
  assert.is(gq.length, expected.slopes.q.length);
  for (const [at, g] of gq.entries()) near(g - 1, expected.slopes.q[at], `Q ${at}`);
  for (const [at, g] of gr.entries()) near(g, expected.slopes.r2[at], `R2 ${at}`);
  opened.dispose();
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  for (const loss of ROTATION_LOSSES) {
    for (const score of OBJECTIVES) {
      const title = `${loss}, ${score.objective}${score.scoreDamping ? " damped twice" : ""}`;
      test(`${backend.name}: ${title}: loss and gradients against finite differences`, async () => {
        for (const [i, given] of CASES[loss].entries()) {
          const c: Case = { ...given, ...score };
          for (const headsOnly of [false, true]) {
            const what = `${backend.name} ${title}${headsOnly ? " heads" : ""} shape ${i}`;
            await againstDifferences(backend, loss, c, what, headsOnly);
          }
        }
      });
    }
  }

  test(`${backend.name}: an objective frees what it took`, async () => {
    const problem = problemOf(backend, randomBlock(SHAPES[0], 1));
    const { live } = backend.memory();
    (await BlockObjective.open(backend, problem, SPARSEGPT)).dispose();
    assert.is(backend.memory().live, live);
    const broken = {
      ...problem,
      statistics: { "self_attn.q_proj": problem.statistics["self_attn.q_proj"] },
    };
    try {
      await BlockObjective.open(backend, broken, SPARSEGPT);
      assert.unreachable("statistics were missing");
    } catch (error) {
      assert.match(String(error), /\[block\.mlp\.gate_proj\].*needs the Hessian/);
    }
    assert.is(backend.memory().live, live);
  });

  test(`${backend.name}: a Hessian that does not factorise gets more damping, and says so`, async () => {
    const problem = problemOf(backend, randomBlock(SHAPES[0], 2));
    const broken = problem.statistics["mlp.gate_proj"]!.tensors.hessian;
    // One direction has a second moment below zero, as rounding can make it.
    const data = new Float32Array(36).fill(1.05);
    for (let i = 0; i < 6; i++) data[7 * i] = 1;
    backend.write(broken, data);
    const opened = await BlockObjective.open(backend, problem, SPARSEGPT);
    assert.is(opened.notes.length, 1);
    assert.match(opened.notes[0], /block\.mlp\.gate_proj: damping was raised from 0.01 to 0.1/);
    opened.dispose();
  });

  test(`${backend.name}: weights that contradict the heads are refused`, async () => {
    const problem = problemOf(backend, randomBlock(SHAPES[0], 3));
    const { block } = problemOf(
      backend,
      randomBlock({ ...SHAPES[0], heads: 2, kvHeads: 2, headDim: 3 }, 3),
    );
    const options = { ...SPARSEGPT, objective: "magnitude" } as const;
    try {
      await BlockObjective.open(backend, { ...problem, block }, options);
      assert.unreachable("the shapes contradict");
    } catch (error) {
      assert.match(String(error), /\[block\.self_attn\.q_proj\] its weight is \[12,6\]/);
    }
  });
}

test("a pattern that leaves no choice, or fits no row, makes way for the entropy", async () => {
  const backend = await OPENERS[0]();
  const open = async (shape: BlockShape, loss: RotationLoss, pattern?: RotationPattern) => {
    const options = { objective: "magnitude", loss, pattern, damping: 0, scoreDamping: 0 } as const;
    const problem = problemOf(backend, randomBlock(shape, 4));
    const opened = await BlockObjective.open(backend, problem, options);
    const { hidden, kvHeads, headDim } = shape;
    const unit = (n: number) =>
      Float32Array.from({ length: n * n }, (_, i) => +(i % (n + 1) === 0));
    const q = backend.upload(unit(hidden), [hidden, hidden]);
    const turns = Array.from({ length: kvHeads }, () => [...unit(headDim)]).flat();
    const r2 = backend.upload(Float32Array.from(turns), [kvHeads * headDim, headDim]);
    const gradients = { q: backend.zeros(q.shape), r2: backend.zeros(r2.shape) };
    return { value: await opened.loss({ q, r2 }, gradients, false), notes: opened.notes };
  };
  const even = REMOVED[0].shape;
  const entropy = await open(even, "entropy");
  for (const pattern of [
    { n: 4, m: 4 },
    { n: 0, m: 4 },
    { n: 1, m: 1 },
  ]) {
    assert.equal(await open(even, "removed", pattern), entropy);
  }
  assert.is.not((await open(even, "removed")).value, entropy.value);
  const odd = SHAPES[0];
  const { value, notes } = await open(odd, "removed", { n: 4, m: 8 });
  assert.is(value, (await open(odd, "entropy")).value);
  assert.is(notes.length, 1);
  assert.match(notes[0], /block: rows of 5 weights have no groups of 8, 4 or 2.*entropy/);
});

test.run();
