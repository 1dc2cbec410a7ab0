import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { type LinearProblem, resolveOptions } from "../../src/method.js";
import { type ArmorMethodOptions, armor } from "../../src/methods/armor.js";
import { Random } from "../../src/random.js";
import { reconstruct } from "../../src/sandwich.js";
import { parseSparsity } from "../../src/sparsity.js";

/** A layer and the sums of squares of its inputs. */
export interface Layer {
  readonly rows: number;
  readonly cols: number;
  readonly weight: Float32Array;
  readonly squares: Float32Array;
}

/** Weights of about normal distribution; a few inputs far larger than the others, as in models. */
export function layerOf(rows: number, cols: number, seed = 1): Layer {
  const random = new Random(seed);
  const normal = () => random.next() + random.next() + random.next() + random.next() - 2;
  const weight = Float32Array.from({ length: rows * cols }, normal);
  const squares = Float32Array.from({ length: cols }, (_, j) =>
    j % 16 === 3 ? 400 : 1 + random.next(),
  );
  return { rows, cols, weight, squares };
}

export interface Pruned {
  readonly outcome: Awaited<ReturnType<typeof armor.prune>>;
  readonly core: Float32Array;
  readonly mask: Uint8Array;
  readonly left: Float32Array;
  readonly right: Float32Array;
  /** A S B */
  readonly dense: Float32Array;
}

/** ARMOR as published, unless the options ask for rounds. */
export async function prune(
  backend: Backend,
  { rows, cols, weight, squares }: Layer,
  options: Partial<ArmorMethodOptions>,
  more: Partial<LinearProblem> = {},
): Promise<Pruned> {
  const columnSquares = backend.upload(squares, [cols]);
  const problem: LinearProblem = {
    name: "layer",
    weight: backend.upload(weight, [rows, cols]),
    statistics: { sequences: 1, tokens: 1, columnSquares },
    sparsity: parseSparsity("2:4"),
    backend,
    ...more,
  };
  try {
    const outcome = await armor.prune(problem, resolveOptions(armor, { rounds: 0, ...options }));
    const sandwich = outcome.sandwich!;
    const whole = reconstruct(backend, problem.weight, sandwich);
    const tensors = [problem.weight, outcome.mask, sandwich.left, sandwich.right, whole];
    const read = await Promise.all(tensors.map((tensor) => backend.read(tensor)));
    for (const tensor of [outcome.mask, sandwich.left, sandwich.right, whole]) tensor.dispose();
    const [core, left, right, dense] = [0, 2, 3, 4].map((i) => read[i] as Float32Array);
    return { outcome, core, mask: read[1] as Uint8Array, left, right, dense };
  } finally {
    problem.weight.dispose();
    columnSquares.dispose();
  }
}

/** Requires two numbers to be the same up to a relative error. */
export function near(actual: number, expected: number, relative: number, what: string): void {
  const error = Math.abs(actual - expected);
  assert.ok(error <= relative * Math.abs(expected), `${what} is ${actual}, not ${expected}`);
}
