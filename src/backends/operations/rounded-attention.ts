import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import { type AttentionOptions, checkQueries } from "./attention.js";
import type { Contracts } from "./contract.js";
import { matrix, rule } from "./rules.js";

/**
 * Attention over keys and values that are held as int8. Each head of a token has a scale of its own, or each of
 * several runs of a head's columns. Bytes of codes are two's complement.
 */
export interface RoundedAttentionOperations {
  /**
   * Rounds runs x of the columns of each row, such as heads, to int8. A run's scale is max |x| / 127 in f32. Its
   * codes are x / scale, rounded to the nearest whole number, to the even one between two; 0 where the scale is 0.
   * A run that holds NaN or infinity gets codes of 0 and NaN or infinity as its scale, and what attends to it is
   * NaN.
   *
   * @param x [T, width]
   * @param codes u8 [T, width]
   * @param scales [T, runs], whose number divides the width
   */
  roundHeads(x: Tensor, codes: Tensor, scales: Tensor): void;
  /**
   * `attention` with keys and values as `roundHeads` rounds them: codes times their scales. A kernel may round
   * queries to int16, each head with a scale of its own.
   *
   * @param q [T, heads * headDim]
   * @param k u8 [S, kvHeads * headDim], S >= T; v likewise
   * @param keyScales [S, kvHeads * runs], of as many runs of each head's columns
   * @param valueScales [S, kvHeads]
   * @param out [T, heads * headDim]
   */
  roundedAttention(
    q: Tensor,
    k: Tensor,
    keyScales: Tensor,
    v: Tensor,
    valueScales: Tensor,
    out: Tensor,
    options: AttentionOptions,
  ): void;
}

export const roundedAttention: Contracts<RoundedAttentionOperations> = {
  roundHeads: {
    check(x, codes, scales) {
      matrix("roundHeads", "codes", codes, rowsOf(x), colsOf(x), "u8");
      matrix("roundHeads", "scales", scales, rowsOf(x), colsOf(scales));
      rule(
        "roundHeads",
        colsOf(x) % colsOf(scales) === 0,
        `${colsOf(scales)} scales of a row do not divide ${colsOf(x)} columns.`,
      );
    },
    rows: [0, 1, 2],
  },
  roundedAttention: {
    check(q, k, keyScales, v, valueScales, out, options) {
      const { kvHeads, headDim } = options;
      const keys = rowsOf(k);
      checkQueries("roundedAttention", q, keys, out, options);
      const factors = colsOf(keyScales);
      rule(
        "roundedAttention",
        factors > 0 && factors % kvHeads === 0 && (kvHeads * headDim) % factors === 0,
        `${factors} scales of a row of k are not those of ${kvHeads} heads of ${headDim}.`,
      );
      for (const [name, codes, scales, count] of [
        ["k", k, keyScales, factors],
        ["v", v, valueScales, kvHeads],
      ] as const) {
        matrix("roundedAttention", name, codes, keys, kvHeads * headDim, "u8");
        matrix("roundedAttention", `the scales of ${name}`, scales, keys, count);
      }
    },
  },
};
