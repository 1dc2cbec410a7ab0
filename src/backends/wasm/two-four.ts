import type { Operations } from "../../backend.js";
import type { Form } from "../../form.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Claim, KernelMatrix } from "../forms.js";
import {
  address,
  cut,
  equalRanges,
  formatOf,
  freeing,
  hasScales,
  type Kernels,
  PACK_WORK,
  queueRanges,
  type Range,
  withScratch,
  withValues,
} from "./kernels.js";

/** Rows that are prepared together. */
export const PANEL_ROWS = 8;

/** The prepared form of assembly/lib/two-four-form.ts. */
export interface TwoFourMatrix extends Omit<KernelMatrix, "multiply" | "embed"> {
  /** As numbered in assembly/lib/half.ts. */
  readonly format: number;
  readonly panels: number;
  /** 0 where there are none. */
  readonly scales: number;
}

/**
 * Runs `use` with the address of x [tokens, 4 * groups] as the kernels want it, at most
 * TWO_FOUR_RUN_TOKENS tokens: many of them are packed, by all threads together.
 */
export function withTokens<T>(
  kernels: Kernels,
  x: number,
  tokens: number,
  groups: number,
  use: (x: number) => T,
): T {
  const { sizes } = kernels;
  if (tokens <= Number(sizes.TWO_FOUR_FEW_TOKENS)) return use(x);
  return withScratch(kernels, sizes.twoFourTokenBytes(tokens, groups), (packed) => {
    const work = tokens * groups * 4 * PACK_WORK;
    const ranges = cut(kernels, tokens, sizes.twoFourGrain(), work);
    const calls = ranges.map(({ start, count }) => {
      return [tokens, groups, x, packed, start, start + count];
    });
    kernels.queue("twoFourTokens", calls, work);
    return use(packed);
  });
}

/** Tokens that go through together; a last run of few, whose sums have another order, takes more. */
function tokenRuns({ sizes }: Kernels, tokens: number): Range[] {
  const runs = equalRanges(tokens, Number(sizes.TWO_FOUR_RUN_TOKENS));
  const [before, last] = runs.slice(-2);
  if (!last || last.count > Number(sizes.TWO_FOUR_FEW_TOKENS)) return runs;
  const grain = sizes.twoFourGrain();
  return [
    ...runs.slice(0, -2),
    { start: before.start, count: before.count - grain },
    { start: last.start - grain, count: last.count + grain },
  ];
}

/** out [tokens, rows] = x Wᵀ + bias, a run of tokens after another. */
function multiplyTwoFour(
  kernels: Kernels,
  { rows, cols, format, panels, scales }: TwoFourMatrix,
  x: Tensor,
  out: Tensor,
  bias: Tensor | undefined,
): void {
  const { sizes } = kernels;
  const groups = cols / 4;
  const biasAt = bias ? address(bias) : 0;
  for (const { start: token, count: tokens } of tokenRuns(kernels, rowsOf(x))) {
    const work = tokens * rows * groups * 2;
    const to = address(out) + 4 * token * rows;
    withTokens(kernels, address(x) + 4 * token * cols, tokens, groups, (ready) =>
      queueRanges(
        kernels,
        "twoFourRows",
        cut(kernels, rows, PANEL_ROWS, work),
        work,
        () => sizes.twoFourScratch(format, tokens, groups),
        ({ start, count }) => [
          ...[format, ready, panels, scales, to, biasAt, tokens, rows, groups],
          ...[start, start + count],
        ],
      ),
    );
  }
}

/** A leaf in the form that the kernels of 2:4 read; undefined for other forms. */
export function prepareTwoFour(kernels: Kernels, form: Form): TwoFourMatrix | undefined {
  const { exports, storage } = kernels;
  if (form.kind !== "leaf" || form.structure.kind !== "n:m") return undefined;
  const format = formatOf(form);
  const { n, m } = form.structure;
  if (n !== 2 || m !== 4 || format === undefined) return undefined;
  const [rows, cols] = form.shape;
  const groups = cols / 4;
  const panelBytes = exports.twoFourBytes(format, rows, groups);
  const isScaled = hasScales(format);
  const bytes = panelBytes + (isScaled ? 32 * Math.ceil(rows / 8) : 0);
  const panels = storage.allocate(bytes);
  const scales = isScaled ? panels + panelBytes : 0;
  const indices = address(form.parts.get("indices")!);
  withValues(kernels, form, scales, (values) =>
    exports.twoFourPrepare(format, values, indices, rows, groups, panels, scales),
  );
  const place = { rows, cols, bytes, format, panels, scales };
  return { ...place, dispose: freeing(kernels, panels, bytes) };
}

export function twoFourClaim(kernels: Kernels): Claim {
  return (form) => {
    const matrix = prepareTwoFour(kernels, form);
    if (!matrix) return undefined;
    return {
      ...matrix,
      multiply: (x, out, bias) => multiplyTwoFour(kernels, matrix, x, out, bias),
    };
  };
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  exports.twoFourStart();
  return {
    async packTwoFour(w, values, indices) {
      return exports.twoFourPack(
        ...[address(w), address(values), address(indices), rowsOf(w), colsOf(w) / 4],
      );
    },
    unpackTwoFour(values, indices, w) {
      exports.twoFourUnpack(
        ...[address(w), address(values), address(indices), rowsOf(w), colsOf(w) / 4],
      );
    },
  };
}
