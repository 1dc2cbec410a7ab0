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

/** Requires queries, an output and options of attention to `keys` positions. */
export function checkQueries(
  operation: string,
  q: Tensor,
  keys: number,
  out: Tensor,
  { heads, kvHeads, headDim, window, scale = 1 }: AttentionOptions,
): void {
  const queries = rowsOf(q);
  rule(
    operation,
    heads % kvHeads === 0,
    `${kvHeads} key-value heads do not divide ${heads} heads.`,
  );
  matrix(operation, "q", q, queries, heads * headDim);
  matrix(operation, "out", out, queries, heads * headDim);
  rule(operation, keys >= queries, `${keys} keys are fewer than ${queries} queries.`);
  rule(operation, scale > 0, `scale ${scale} must be positive.`);
  rule(operation, window === undefined || window > 0, `window ${window} must be positive.`);
}

export const attention: Contracts<AttentionOperations> = {
  attention: {
    check(q, k, v, out, options) {
      const [keys, width] = [rowsOf(k), options.kvHeads * options.headDim];
      checkQueries("attention", q, keys, out, options);
      matrix("attention", "k", k, keys, width);
      matrix("attention", "v", v, keys, width);
    },
  },
};
