import { PenjingError } from "./errors.js";

/** Largest M of an N:M pattern. */
export const LARGEST_M = 16;

/**
 * How many weights are removed, and under which constraint: `n` kept of every `m` consecutive
 * inputs of a row, or a `ratio` removed wherever they matter least.
 */
export type Sparsity =
  | { readonly kind: "n:m"; readonly n: number; readonly m: number }
  | { readonly kind: "unstructured"; readonly ratio: number };

/** N:M, N kept of every M, or the share to remove; any text of these forms. */
export type SparsityText = "2:4" | "4:8" | "1:4" | "1:2" | "50%" | "60%" | (string & {});

/**
 * Reads "2:4" (n kept of every m), "50%" or "0.5" (ratio removed).
 *
 * @param where the option or recipe key that the text came from, for the error
 * @throws PenjingError for anything else, for M above 16 and for ratios outside [0, 1)
 */
export function parseSparsity(text: string | number, where = "sparsity"): Sparsity {
  const pattern = /^(\d{1,3}):(\d{1,3})$/.exec(String(text).trim());
  if (pattern) {
    const [n, m] = [Number(pattern[1]), Number(pattern[2])];
    if (n >= 1 && n <= m && m <= LARGEST_M) return { kind: "n:m", n, m };
    throw new PenjingError(
      where,
      `"${text}" is not a pattern that can be kept: N:M keeps N of every M weights, with 1 <= N <= M <= ${LARGEST_M}, such as 2:4.`,
    );
  }
  const share = /^(\d+(?:\.\d+)?|\.\d+)(%?)$/.exec(String(text).trim());
  const ratio = share ? Number(share[1]) / (share[2] ? 100 : 1) : Number.NaN;
  if (ratio >= 0 && ratio < 1) return { kind: "unstructured", ratio };
  throw new PenjingError(
    where,
    `"${text}" is not a sparsity: give N:M such as 2:4, or the share to remove such as 50% or 0.5, below 100%.`,
  );
}

/** The text that `parseSparsity` reads back. */
export function formatSparsity(sparsity: Sparsity): string {
  if (sparsity.kind === "n:m") return `${sparsity.n}:${sparsity.m}`;
  return `${Number((sparsity.ratio * 100).toPrecision(12))}%`;
}

/**
 * How many of `count` weights an unstructured ratio removes: floor(count * ratio), where a product
 * that is whole but for rounding counts as whole (0.29 * 100 is 28.999... in floating point).
 */
export function removedCount(count: number, ratio: number): number {
  return Math.floor(count * ratio * (1 + 2 ** -50));
}

/** How many of `count` weights a pattern keeps: of a ratio about, which may remove row by row. */
export function keptOf(count: number, sparsity: Sparsity): number {
  if (sparsity.kind === "n:m") return Math.round((count * sparsity.n) / sparsity.m);
  return count - removedCount(count, sparsity.ratio);
}

/** Whether what it keeps is 2:4, by at most two of every four. */
export function isTwoFour(sparsity: Sparsity): boolean {
  return sparsity.kind === "n:m" && sparsity.m === 4 && sparsity.n <= 2;
}

/** The ones of a mask, whose values are 0 and 1. */
export function countKept(mask: Uint8Array): number {
  let kept = 0;
  for (let i = 0; i < mask.length; i++) kept += mask[i];
  return kept;
}
