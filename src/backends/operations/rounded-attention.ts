import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import { type AttentionOptions, attention } from "./attention.js";
import type { Contracts } from "./contract.js";
import { matrix, rule } from "./rules.js";

/**
 * Attention over keys and values that are held as int8, each head of a token with a scale of its own. Bytes of
 * codes are two's complement.
 */
export interface RoundedAttentionOperations {
  /**
   * Rounds each head x [headDim] of each row to int8: its scale is max |x| / 127 in f32, and its codes are
   * x / scale, rounded to the nearest whole number, to the even one between two; 0 where the scale is 0. A head
   * that holds NaN or infinity gets codes of 0 and NaN or infinity as its scale, and what attends to it is NaN.
   *
   * @param x [T, heads * headDim]
   * @param codes u8 [T, heads * headDim]
   * @param scales [T, heads]
   */
  roundHeads(x: Tensor, codes: Tensor, scales: Tensor): void;
  /**
   * `attention` with keys and values as `roundHeads` rounds them: codes times their scales. A kernel may round
   * queries to int16, each head with a scale of its own.
   *
   * @param q [T, heads * headDim]
   * @param k u8 [S, kvHeads * headDim], S >= T; v likewise
   * @param keyScales [S, kvHeads]; valueScales likewise
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
        `${colsOf(scales)} heads do not divide ${colsOf(x)} columns.`,
      );
    },
    rows: [0, 1, 2],
  },
  roundedAttention: {
    check(q, k, keyScales, v, valueScales, out, options) {
      const { kvHeads, headDim } = options;
      const keys = rowsOf(k);
      for (const [name, codes, scales] of [
        ["k", k, keyScales],
        ["v", v, valueScales],
      ] as const) {
        matrix("roundedAttention", name, codes, keys, kvHeads * headDim, "u8");
        matrix("roundedAttention", `the scales of ${name}`, scales, keys, kvHeads);
      }
      // What holds for queries and numbers is the same.
      const floats = { shape: k.shape, size: k.size, dtype: "f32" } as unknown as Tensor;
      attention.attention.check?.(q, floats, floats, out, options);
    },
  },
};
