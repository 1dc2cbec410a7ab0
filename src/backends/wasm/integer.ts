import { PANEL_ROWS } from "../../forms/integer.js";
import { i32, rowsOf } from "../../tensor.js";
import type { Claim } from "../forms.js";
import { checkIds } from "../ids.js";
import { prepareCodes } from "./integer-codes.js";
import { address, cut, type Kernels, queueRanges, withScratch } from "./kernels.js";

/** Multiply-adds of integers that take as long as one of floats, about. */
const FASTER = 3;

/** Multiply-adds of floats that take as long as rounding an activation, about. */
const ROUND_WORK = 4;

/** Bytes of scratch for a token. */
const TOKEN_SCRATCH = 128;

/** Bytes of scratch for a row that is looked up. */
const ROW_SCRATCH = 32;

/** Runs `use` with the address of x [tokens, cols] rounded, as kernels for codes of `bits` read it. */
function withRounded(
  kernels: Kernels,
  bits: number,
  x: number,
  [tokens, cols]: readonly [number, number],
  use: (x: number) => void,
): void {
  const { sizes } = kernels;
  // Kernels take several tokens at a time, and read whole such groups.
  const atOnce = tokens === 1 ? 1 : Number(sizes.INTEGER_TOKENS);
  const bytes = sizes.integerTokenBytes(bits, cols) * Math.ceil(tokens / atOnce) * atOnce;
  withScratch(kernels, bytes, (rounded) => {
    const work = tokens * cols * ROUND_WORK;
    queueRanges(
      kernels,
      "integerTokens",
      cut(kernels, tokens, atOnce, work),
      work,
      () => TOKEN_SCRATCH,
      ({ start, count }) => [bits, x, cols, start, start + count, rounded],
    );
    use(rounded);
  });
}

/** Codes on a grid, by activations of int8. */
export function integerClaim(kernels: Kernels): Claim {
  const { exports, sizes } = kernels;
  return (form, { activations }) => {
    const codes = activations === "int8" ? prepareCodes(kernels, form) : undefined;
    if (!codes) return undefined;
    const { rows, cols, bits, w, bytes, shape, dispose } = codes;
    return {
      ...{ rows, cols, bytes, activations, dispose },
      multiply(x, out, bias) {
        const tokens = rowsOf(x);
        const work = (tokens * rows * cols) / FASTER;
        withRounded(kernels, bits, address(x), [tokens, cols], (rounded) =>
          queueRanges(
            kernels,
            "integerRows",
            cut(kernels, rows, PANEL_ROWS, work),
            work,
            () => sizes.integerScratch(bits, tokens, ...shape),
            ({ start, count }) => [
              ...[bits, rounded, w, address(out), bias ? address(bias) : 0, tokens, rows],
              ...[...shape, start, start + count],
            ],
          ),
        );
      },
      embed(ids, out) {
        const [tokens, to] = [i32(ids), address(out)];
        checkIds("embed", tokens, rows);
        withScratch(kernels, ROW_SCRATCH, (scratch) => {
          tokens.forEach((id, t) => {
            exports.integerRow(bits, w, id, ...shape, to + 4 * cols * t, scratch);
          });
        });
      },
    };
  };
}
