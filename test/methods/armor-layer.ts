import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { decode } from "../../src/decode.js";
import { partsIn } from "../../src/form.js";
import type { LinearProblem } from "../../src/method.js";
import { armor } from "../../src/methods/armor.js";
import { type OptionsOf, resolveOptions } from "../../src/options.js";
import { Random } from "../../src/random.js";
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
  options: Partial<OptionsOf<typeof armor.options>>,
  more: Partial<LinearProblem> = {},
): Promise<Pruned> {
  const columnSquares = backend.upload(squares, [cols]);
  const problem: LinearProblem = {
    name: "layer",
    weight: backend.upload(weight, [rows, cols]),
    statistics: { sequences: 1, tokens: 1, tensors: { columnSquares } },
    sparsity: parseSparsity("2:4"),
    backend,
    ...more,
  };
  try {
    const outcome = await armor.prune(
      problem,
      resolveOptions(armor.options, { rounds: 0, ...options }, armor.name),
    );
    const whole = await decode(backend, outcome.form!);
    const [a, s, b] = partsIn(outcome.form!);
    const tensors = [s, outcome.mask, a, b, whole];
    const read = await Promise.all(tensors.map((tensor) => backend.read(tensor)));
    for (const tensor of [outcome.mask, a, b, whole]) tensor.dispose();
    const [core, left, right, dense] = [0, 2, 3, 4].map((i) => read[i] as Float32Array);
    return { outcome, core, mask: read[1] as Uint8Array, left, right, dense };
  } finally {
    problem.weight.dispose();
    columnSquares.dispose();
  }
}

/** Requires that exactly two weights of each group of 4 are kept, and that the others are 0. */
export function assertTwoFour(core: Float32Array, mask: Uint8Array): void {
  assert.ok(core.every((value, i) => mask[i] === 1 || value === 0));
  for (let group = 0; group < mask.length; group += 4) {
    assert.is(mask[group] + mask[group + 1] + mask[group + 2] + mask[group + 3], 2);
  }
}

/** Requires that work ends with an error of this message. */
export async function assertStops(work: Promise<unknown>, message: string): Promise<void> {
  await work.then(
    () => assert.unreachable("it ran to its end"),
    (error) => assert.is(error.message, message),
  );
}

/**
 * Requires that long work lets timers run, ends soon after one of them aborts it, and tells how far
 * it is in rising fractions.
 *
 * @param reports after which the timer is set
 */
export async function assertCancels(
  start: (more: Partial<LinearProblem>) => Promise<unknown>,
  reports: number,
): Promise<void> {
  const controller = new AbortController();
  const fractions: number[] = [];
  let aborted = 0;
  const abort = () => {
    aborted = performance.now();
    controller.abort(new Error("enough"));
  };
  const onProgress = (fraction: number) => {
    if (fractions.push(fraction) === reports) setTimeout(abort, 0);
  };
  await assertStops(start({ signal: controller.signal, onProgress }), "enough");
  const late = performance.now() - aborted;
  // 100 ms on an idle machine; the tests share theirs with one another.
  assert.ok(late < 500, `it went on for ${late} ms`);
  assert.ok(fractions.every((f, i) => f > (fractions[i - 1] ?? 0) && f <= 1));
}

/** Requires two numbers to be the same up to a relative error. */
export function near(actual: number, expected: number, relative: number, what: string): void {
  const error = Math.abs(actual - expected);
  assert.ok(error <= relative * Math.abs(expected), `${what} is ${actual}, not ${expected}`);
}
