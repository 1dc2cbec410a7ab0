import { rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { matrix, rule } from "./rules.js";

export interface AttentionOptions {
  readonly heads: number;
  /** Key-value heads; divides `heads`. */
  readonly kvHeads: number;
  readonly headDim: number;
  /** A query sees at most this many positions, itself included. @default unlimited */
  readonly window?: number | undefined;
  /** Factor on scores. @default 1 / sqrt(headDim) */
  readonly scale?: number | undefined;
}

export interface AttentionOperations {
  /**
   * Causal attention: query t is at position S - T + t and sees positions up to its own.
   *
   * @param q [T, heads * headDim]
   * @param k [S, kvHeads * headDim], S >= T; v likewise
   * @param out [T, heads * headDim]
   */
  attention(q: Tensor, k: Tensor, v: Tensor, out: Tensor, options: AttentionOptions): void;
}

/** Multiply-adds for one query that may see `keys` positions. */
export function attentionWork(
  keys: number,
  { heads, headDim, window = keys }: AttentionOptions,
): number {
  return 2 * Math.min(window, keys) * heads * headDim;
}

export const attention: Contracts<AttentionOperations> = {
  attention: {
    check(q, k, v, out, { heads, kvHeads, headDim, window, scale = 1 }) {
      rule(
        "attention",
        heads % kvHeads === 0,
        `${kvHeads} key-value heads do not divide ${heads} heads.`,
      );
      matrix("attention", "q", q, rowsOf(q), heads * headDim);
      matrix("attention", "k", k, rowsOf(k), kvHeads * headDim);
      matrix("attention", "v", v, rowsOf(k), kvHeads * headDim);
      matrix("attention", "out", out, rowsOf(q), heads * headDim);
      rule(
        "attention",
        rowsOf(k) >= rowsOf(q),
        `${rowsOf(k)} keys are fewer than ${rowsOf(q)} queries.`,
      );
      rule("attention", scale > 0, `scale ${scale} must be positive.`);
      rule("attention", window === undefined || window > 0, `window ${window} must be positive.`);
    },
  },
};
