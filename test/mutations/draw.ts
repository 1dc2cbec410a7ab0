import { Random } from "../../src/random.js";

/** Random choices, the same for the same seed and case. */
export class Draw {
  readonly #random: Random;

  constructor(seed: number, index: number) {
    this.#random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b));
  }

  /** A whole number from 0, below `count`. */
  below(count: number): number {
    return Math.floor(this.#random.next() * count);
  }

  pick<Value>(values: readonly Value[]): Value {
    return values[this.below(values.length)];
  }

  /** @param share of the times that it is true */
  chance(share: number): boolean {
    return this.#random.next() < share;
  }
}
