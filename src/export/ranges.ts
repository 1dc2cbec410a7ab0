import type { Backend } from "../backend.js";
import type { StoredModel } from "../models/stored.js";
import { pause } from "../run.js";

/** Multiply-adds between two looks at the signal: some tens of milliseconds. */
const MULTIPLY_ADDS = 2 ** 28;
/** Fewer rows than this do not make up for what a product packs first. */
const LEAST_ROWS = 16;

/** What a model is rebuilt with. */
export interface Tools {
  readonly model: StoredModel;
  readonly backend: Backend;
  readonly signal: AbortSignal | undefined;
}

/** Some of a matrix's rows, or of its columns. */
export interface Range {
  readonly first: number;
  readonly count: number;
}

/** Rows of a product that are made at a time, each of so many multiply-adds. */
export function rowsWithin(each: number): number {
  return Math.max(LEAST_ROWS, Math.floor(MULTIPLY_ADDS / each));
}

/** The ranges of `step` that cover `length`. */
export function rangesOf(length: number, step: number): Range[] {
  return Array.from({ length: Math.ceil(length / step) }, (_, i) => ({
    first: i * step,
    count: Math.min(step, length - i * step),
  }));
}

/** Ranges with a look at the signal before each. */
export async function* paced(
  ranges: readonly Range[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Range, void, void> {
  for (const range of ranges) {
    await pause(signal);
    yield range;
  }
}
