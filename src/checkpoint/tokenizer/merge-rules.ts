/**
 * Which pairs of token ids merge to which, and in which order: a hash table with open addressing in
 * typed arrays, since vocabularies have up to half a million merges.
 */
export class MergeRules {
  readonly #mask: number;
  /** In each place the number of a rule plus one, or 0. */
  readonly #places: Int32Array;
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  readonly #rank: Int32Array;
  readonly #result: Int32Array;
  #count = 0;

  /** @param most rules that will be set at most */
  constructor(most: number) {
    let size = 16;
    while (size < 2 * most) size *= 2;
    this.#mask = size - 1;
    this.#places = new Int32Array(size);
    this.#left = new Int32Array(most);
    this.#right = new Int32Array(most);
    this.#rank = new Int32Array(most);
    this.#result = new Int32Array(most);
  }

  /** The place of a pair, or the free one where it would be. */
  #placeOf(left: number, right: number): number {
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    let place = hash & this.#mask;
    for (;;) {
      const rule = this.#places[place] - 1;
      if (rule < 0 || (this.#left[rule] === left && this.#right[rule] === right)) return place;
      place = (place + 1) & this.#mask;
    }
  }

  /** Adds a rule; a pair that is there gets the new rank. */
  set(left: number, right: number, rank: number, result: number): void {
    const place = this.#placeOf(left, right);
    let rule = this.#places[place] - 1;
    if (rule < 0) {
      rule = this.#count++;
      this.#places[place] = rule + 1;
      this.#left[rule] = left;
      this.#right[rule] = right;
    }
    this.#rank[rule] = rank;
    this.#result[rule] = result;
  }

  /** The number of a pair's rule, or -1. */
  find(left: number, right: number): number {
    return this.#places[this.#placeOf(left, right)] - 1;
  }

  /** The rank of a rule; the lowest is applied first. */
  rank(rule: number): number {
    return this.#rank[rule];
  }

  /** The id that a rule's pair merges to. */
  result(rule: number): number {
    return this.#result[rule];
  }
}
