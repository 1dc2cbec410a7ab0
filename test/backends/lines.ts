import * as assert from "uvu/assert";
import type { Backend, EntropyOptions } from "../../src/backend.js";
import type { Tensor } from "../../src/tensor.js";
import { assertWithin, blank, EPSILON, input, output, random, randomValues } from "./operands.js";

/** The lines that importance is normalised over. */
export type Axis = "rows" | "columns";
export const AXES: readonly Axis[] = ["rows", "columns"];

export interface LineCase {
  readonly axis: Axis;
  readonly rows: number;
  readonly cols: number;
  readonly w: ArrayLike<number>;
  readonly scale?: ArrayLike<number>;
  readonly inverse?: boolean;
}

/** A loss over lines with its derivatives, and how far float32 may be off. */
export interface Expected {
  readonly loss: number;
  readonly tolerance: number;
  readonly gradient: Float64Array;
  readonly gradientBound: ArrayLike<number>;
  readonly byScale: Float64Array;
  readonly byScaleBound: ArrayLike<number>;
}

/** What w² is multiplied by at place i of a line. */
export function factorOf({ scale, inverse }: LineCase, i: number): number {
  if (!scale) return 1;
  return inverse ? 1 / scale[i] : scale[i];
}

/** Where element i of a line is in the matrix. */
export function placeOf({ axis, cols }: LineCase, line: number, i: number): number {
  return axis === "rows" ? line * cols + i : i * cols + line;
}

/** Requires an operation's loss and derivatives, written anew and added to what is there. */
export async function compareLoss(
  backend: Backend,
  run: (w: Tensor, gradient: Tensor, options: EntropyOptions) => Promise<number>,
  c: LineCase,
  expected: Expected,
  what: string,
): Promise<void> {
  const { axis, rows, cols, inverse } = c;
  const w = Float32Array.from(c.w);
  const length = axis === "rows" ? cols : rows;
  const scale = c.scale && input(backend, Float32Array.from(c.scale), 1);
  const withScale = (scaleGradient: Tensor) => scale && { scale, inverse, scaleGradient };
  const { gradientBound, byScaleBound } = expected;
  const gradient = blank(backend, w.length, cols);
  const byScale = blank(backend, length, 1);
  const loss = await run(input(backend, w, cols), gradient.view, { ...withScale(byScale.view) });
  const difference = Math.abs(loss - expected.loss);
  assert.ok(difference <= expected.tolerance, `${what}: ${loss}, not ${expected.loss}`);
  assertWithin(await gradient.read(), expected.gradient, (i) => gradientBound[i], what);
  if (scale) {
    assertWithin(await byScale.read(), expected.byScale, (i) => byScaleBound[i], `${what}, scale`);
  }
  if (w.length === 0) return;

  const start = randomValues(w.length);
  const added = output(backend, start, cols);
  const startScale = randomValues(length);
  const addedScale = output(backend, startScale, 1);
  await run(input(backend, w, cols), added.view, {
    ...withScale(addedScale.view),
    accumulate: true,
  });
  assertWithin(
    await added.read(),
    expected.gradient.map((g, i) => g + start[i]),
    (i) => gradientBound[i] + 2 * EPSILON * (1 + Math.abs(expected.gradient[i])),
    `${what}, added`,
  );
  if (!scale) return;
  assertWithin(
    await addedScale.read(),
    expected.byScale.map((g, i) => g + startScale[i]),
    (i) => byScaleBound[i] + 2 * EPSILON * (1 + Math.abs(expected.byScale[i])),
    `${what}, scale, added`,
  );
}

/** Weights of very unlike sizes, as they are in models. */
export function unlikeWeights(size: number): Float32Array {
  return randomValues(size).map((x) => x * 10 ** (3 * random() - 3));
}
