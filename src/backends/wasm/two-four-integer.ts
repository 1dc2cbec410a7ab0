import { type IntegerLeaf, offsetOf, PANEL_ROWS, runsOf } from "../../forms/integer.js";
import { isTwoFourInteger, withAllPlaces } from "../../forms/two-four-integer.js";
import { rowsOf } from "../../tensor.js";
import type { Claim } from "../forms.js";
import { address, cut, freeing, type Kernels, queueRanges, withScratch } from "./kernels.js";

/** Multiply-adds of a dense product of floats that take as long as one of these, about. */
const FASTER = 3;

/** Multiply-adds of floats that take as long as rounding an activation, about. */
const ROUND_WORK = 4;

/** Bytes of scratch for a token. */
const TOKEN_SCRATCH = 128;

/** Tokens that kernels take together: they read whole such groups of several. */
const TOGETHER = 4;

/** 2:4 codes on a symmetric grid, by activations of int8. */
export function twoFourIntegerClaim(kernels: Kernels): Claim {
  const { exports, storage } = kernels;
  return (form, { activations }) => {
    if (activations !== "int8" || !isTwoFourInteger(form)) return undefined;
    const [rows, cols] = form.shape;
    const whole = withAllPlaces(form) as IntegerLeaf<unknown>;
    const { runsAGroup } = runsOf(whole);
    const bits = form.numbers.bits <= 4 ? 4 : 8;
    // The zero point is 0 among 8 bits, and 8 among 4.
    const offset = offsetOf(whole) - (bits === 8 ? 0 : 8);
    const bytes = exports.twoFourIntegerBytes(bits, rows, cols, runsAGroup);
    const w = storage.allocate(bytes);
    const parts = ["values", "indices", "scales"].map((name) => address(form.parts.get(name)!));
    exports.twoFourIntegerPrepare(bits, ...parts, offset, rows, cols, runsAGroup, w);
    return {
      ...{ rows, cols, bytes, activations, dispose: freeing(kernels, w, bytes) },
      multiply(x, out, bias) {
        const tokens = rowsOf(x);
        const atOnce = tokens === 1 ? 1 : TOGETHER;
        const padded = Math.ceil(tokens / atOnce) * atOnce;
        withScratch(kernels, kernels.sizes.twoFourIntegerTokenBytes(cols) * padded, (rounded) => {
          const rounding = tokens * cols * ROUND_WORK;
          queueRanges(
            kernels,
            "twoFourIntegerTokens",
            cut(kernels, tokens, atOnce, rounding),
            rounding,
            () => TOKEN_SCRATCH,
            ({ start, count }) => [address(x), cols, start, start + count, rounded],
          );
          const work = (tokens * rows * cols) / FASTER;
          queueRanges(
            kernels,
            "twoFourIntegerRows",
            cut(kernels, rows, PANEL_ROWS, work),
            work,
            () => kernels.sizes.twoFourIntegerScratch(),
            ({ start, count }) => [
              ...[bits, rounded, w, address(out), bias ? address(bias) : 0, tokens, rows, cols],
              ...[runsAGroup, start, start + count],
            ],
          );
        });
      },
    };
  };
}
