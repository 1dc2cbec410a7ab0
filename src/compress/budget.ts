import { PenjingError } from "../errors.js";

/** Least seconds that a search or an optimisation gets, so that each makes a step. */
const LEAST = 0.01;

/**
 * Divides a time budget over the blocks: each gets an equal part of what is left when it begins, less
 * what the work that has to be done in any case took in the blocks before it.
 */
export class Budget {
  private readonly end: number;
  /** When the block's time is over. */
  private blockEnd = 0;
  private begun = 0;
  /** Seconds of this block that went into what the budget can shorten. */
  private shortened = 0;
  /** Seconds that the rest takes in a block; unknown before the first is finished. */
  private overhead: number | undefined;

  /**
   * @param seconds of the whole run from now on; undefined for no limit
   * @param blocks of the model
   */
  constructor(
    private readonly seconds: number | undefined,
    private readonly blocks: number,
  ) {
    this.end = now() + (seconds ?? 0);
  }

  begin(block: number): void {
    this.begun = now();
    this.shortened = 0;
    const rest = Math.max(0, this.end - this.begun);
    this.blockEnd = this.begun + rest / (this.blocks - block);
  }

  /** The blocks from here on run elsewhere, where what took its time in the last one says nothing. */
  forget(): void {
    this.overhead = undefined;
  }

  finish(): void {
    this.overhead = Math.max(0, now() - this.begun - this.shortened);
  }

  /**
   * Seconds for one of the things still to be shortened in this block; undefined without a budget.
   *
   * @param share its share of what the block has left for them, in (0, 1]
   * @param blocks that the work serves, this one included
   */
  part(share: number, blocks = 1): number | undefined {
    if (this.seconds === undefined) return undefined;
    // What the block took so far is the best guess for passes still to come in the first one.
    const used = now() - this.begun - this.shortened;
    const ahead = this.overhead === undefined ? used : Math.max(0, this.overhead - used);
    const others = (blocks - 1) * Math.max(0, this.blockEnd - this.begun - (this.overhead ?? used));
    return Math.max(LEAST, (this.blockEnd - now() - ahead + others) * share);
  }

  /** Counts the time that `work` takes as what the budget can shorten. */
  async *time<Step, Result>(
    work: AsyncGenerator<Step, Result, void>,
  ): AsyncGenerator<Step, Result, void> {
    const start = now();
    try {
      return yield* work;
    } finally {
      this.shortened += now() - start;
    }
  }
}

/** @throws PenjingError when a budget is given that is no time */
export function refuseBudget(seconds: number | undefined): void {
  if (seconds === undefined || seconds > 0) return;
  throw new PenjingError(
    "budget",
    `${seconds} seconds is not a time; give a number above 0, such as 1800 for half an hour.`,
  );
}

function now(): number {
  return performance.now() / 1000;
}
