import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, matrix, rule, vector } from "./rules.js";

/** Blocks of A and B in an ARMOR optimisation. */
export interface ArmorOptions {
  /** Size of A's blocks; divides the rows. */
  readonly blockRows: number;
  /** Size of B's blocks; divides the columns, a multiple of 4. */
  readonly blockCols: number;
  /** Stops the preparation within 100 ms; nothing is kept then. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * An ARMOR optimisation (arXiv 2510.05528) in progress on its backend: W̄ ≈ A S B with A and B
 * block-diagonal and S 2:4-sparse. Holds the latest iterate, Adam's state and the best iterate.
 */
export interface ArmorState {
  /** Pairs of a block of A and one of B: (rows / blockRows) * (cols / blockCols). */
  readonly pairs: number;
  /** The proxy f before the first iteration. */
  readonly startProxy: number;
  dispose(): void;
}

export interface ArmorAdvanceOptions {
  /** Adam's step. */
  readonly learningRate: number;
  /** Stops between rows of blocks, within 100 ms; afterwards the state can only be disposed. */
  readonly signal?: AbortSignal | undefined;
}

/** Where `armorRead` writes. */
export interface ArmorIterate {
  /** f32 [rows, cols]: S, zero where mask is. */
  readonly core: Tensor;
  /** u8 [rows, cols], 1 = kept. */
  readonly mask: Tensor;
  /** f32 [rows / blockRows, blockRows, blockRows]: A's blocks. */
  readonly left: Tensor;
  /** f32 [cols / blockCols, blockCols, blockCols]: B's blocks. */
  readonly right: Tensor;
}

export interface ArmorOperations {
  /**
   * Starts an ARMOR optimisation of f = sum_j h_j ||(A S B - W̄)_:j||² / sum_j h_j ||W̄_:j||² from
   * A = B = I and S = W̄ where mask is 1. Copies what it needs.
   *
   * @param target W̄ [R, C]
   * @param importance h [C]
   * @param mask u8 [R, C], keeping 2 of every 4 columns
   */
  armorOpen(
    target: Tensor,
    importance: Tensor,
    mask: Tensor,
    options: ArmorOptions,
  ): Promise<ArmorState>;
  /**
   * One iteration for each row of `choices`: an Adam step (betas 0.9 and 0.999) on A, B and the
   * kept values of S, then in every pair of blocks the best support and values of one group of 4.
   * Pairs are numbered row by row. A pair without gradient is skipped. The best iterate is kept.
   *
   * @param choices [steps, pairs]; f32 in [0, 1) draws the group with probability proportional to
   *   the L1 norm of its gradient; i32 is the group itself, row * blockCols / 4 + column group
   *   within the pair's block
   * @returns f after each iteration
   */
  armorAdvance(
    state: ArmorState,
    choices: Tensor,
    options: ArmorAdvanceOptions,
  ): Promise<Float64Array>;
  /** Writes the iterate with the smallest f so far, the start included. */
  armorRead(state: ArmorState, out: ArmorIterate): void;
  /** All that later iterations depend on, in a form of the backend's own. */
  armorSave(state: ArmorState): Promise<Uint8Array>;
  /** Sets an optimisation that was opened on the same operands to where `armorSave` took it. */
  armorLoad(state: ArmorState, saved: Uint8Array): void;
}

export const armor: Contracts<ArmorOperations> = {
  armorOpen: {
    check(target, importance, mask, { blockRows, blockCols }) {
      const [rows, cols] = [rowsOf(target), colsOf(target)];
      dtype("armorOpen", "target", target, "f32");
      vector("armorOpen", "importance", importance, cols);
      matrix("armorOpen", "mask", mask, rows, cols, "u8");
      rule(
        "armorOpen",
        blockRows > 0 && rows % blockRows === 0,
        `blocks of ${blockRows} do not divide ${rows} rows.`,
      );
      rule(
        "armorOpen",
        blockCols > 0 && cols % blockCols === 0 && blockCols % 4 === 0,
        `blocks of ${blockCols} must divide ${cols} columns and be a multiple of 4.`,
      );
    },
  },
  armorAdvance: {
    check({ pairs }, choices) {
      dtype("armorAdvance", "choices", choices, choices.dtype === "i32" ? "i32" : "f32");
      rule(
        "armorAdvance",
        colsOf(choices) === pairs,
        `choices have ${colsOf(choices)} columns, must have one for each of ${pairs} pairs.`,
      );
    },
  },
  armorRead: {},
  armorSave: {},
  armorLoad: {},
};
