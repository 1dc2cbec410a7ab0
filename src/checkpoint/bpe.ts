/** What byte-pair encoding needs of a tokenizer.json's model. */
export interface MergeTable {
  /** Ids of all tokens, by text. */
  readonly tokenIds: ReadonlyMap<string, number>;
  /** Pairs of token texts, the one to apply first at the front. */
  readonly merges: readonly (readonly [left: string, right: string])[];
}

/**
 * A min-heap of merges that could be applied, ordered by rank and then by position, as parallel
 * arrays of numbers. An entry is stale when its two symbols have changed since it was pushed.
 */
class MergeQueue {
  readonly #rank: number[] = [];
  readonly #at: number[] = [];
  readonly #left: number[] = [];
  readonly #right: number[] = [];
  /** The entry that `pop` took out. */
  rank = 0;
  at = 0;
  left = 0;
  right = 0;

  push(rank: number, at: number, left: number, right: number): void {
    let i = this.#rank.length;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const r = this.#rank[parent];
      if (r < rank || (r === rank && this.#at[parent] < at)) break;
      this.#move(parent, i);
      i = parent;
    }
    this.#set(i, rank, at, left, right);
  }

  pop(): boolean {
    const last = this.#rank.length - 1;
    if (last < 0) return false;
    this.rank = this.#rank[0];
    this.at = this.#at[0];
    this.left = this.#left[0];
    this.right = this.#right[0];
    const rank = this.#rank.pop() as number;
    const at = this.#at.pop() as number;
    const left = this.#left.pop() as number;
    const right = this.#right.pop() as number;
    if (last === 0) return true;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= last) break;
      if (child + 1 < last && this.#before(child + 1, child)) child++;
      const r = this.#rank[child];
      if (rank < r || (rank === r && at < this.#at[child])) break;
      this.#move(child, i);
      i = child;
    }
    this.#set(i, rank, at, left, right);
    return true;
  }

  #before(i: number, j: number): boolean {
    const difference = this.#rank[i] - this.#rank[j];
    return difference < 0 || (difference === 0 && this.#at[i] < this.#at[j]);
  }

  #move(from: number, to: number): void {
    this.#set(to, this.#rank[from], this.#at[from], this.#left[from], this.#right[from]);
  }

  #set(i: number, rank: number, at: number, left: number, right: number): void {
    this.#rank[i] = rank;
    this.#at[i] = at;
    this.#left[i] = left;
    this.#right[i] = right;
  }
}

/**
 * Byte-pair encoding of one word of any length in O(n log n): of all adjacent pairs that can be
 * merged, the one of lowest rank, the leftmost of equals, is merged first, until none is left.
 * (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", 3.2.)
 *
 * Some tokenizers have no pre-tokenizer, so that a whole text is one word; symbols are numbers here
 * so that a million characters take about a second.
 */
export class BytePairEncoder {
  /** Text of every symbol: the tokens, then whatever else merges name. */
  readonly #text: string[] = [];
  readonly #symbols = new Map<string, number>();
  /** Rank and result of merging two symbols, under `left * 2^26 + right`. */
  readonly #rules = new Map<number, number>();
  readonly #merged: number[] = [];

  constructor(table: MergeTable) {
    for (const token of table.tokenIds.keys()) this.#symbol(token);
    table.merges.forEach(([left, right], rank) => {
      const key = this.#symbol(left) * 2 ** 26 + this.#symbol(right);
      this.#rules.set(key, rank);
      this.#merged[rank] = this.#symbol(left + right);
    });
  }

  #symbol(text: string): number {
    const known = this.#symbols.get(text);
    if (known !== undefined) return known;
    const symbol = this.#text.length;
    this.#symbols.set(text, symbol);
    this.#text.push(text);
    return symbol;
  }

  /** The pieces of `word` after all merges; their concatenation is `word`. */
  split(word: string): string[] {
    const characters = Array.from(word);
    const count = characters.length;
    // Symbol at each position, -1 for a character that no token or merge knows, -2 once merged away.
    const symbols = new Int32Array(count);
    const next = new Int32Array(count);
    const previous = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      symbols[i] = this.#symbols.get(characters[i]) ?? -1;
      next[i] = i + 1 < count ? i + 1 : -1;
      previous[i] = i - 1;
    }
    const queue = new MergeQueue();
    const consider = (at: number): void => {
      const left = symbols[at];
      const right = next[at] < 0 ? -1 : symbols[next[at]];
      if (left < 0 || right < 0) return;
      const rank = this.#rules.get(left * 2 ** 26 + right);
      if (rank !== undefined) queue.push(rank, at, left, right);
    };
    for (let i = 0; i + 1 < count; i++) consider(i);
    while (queue.pop()) {
      const { at, rank } = queue;
      const second = next[at];
      if (symbols[at] !== queue.left || second < 0 || symbols[second] !== queue.right) continue;
      symbols[at] = this.#merged[rank];
      symbols[second] = -2;
      next[at] = next[second];
      if (next[at] >= 0) previous[next[at]] = at;
      if (previous[at] >= 0) consider(previous[at]);
      consider(at);
    }
    const pieces: string[] = [];
    for (let i = 0; i >= 0 && i < count; i = next[i]) {
      pieces.push(symbols[i] >= 0 ? this.#text[symbols[i]] : characters[i]);
    }
    return pieces;
  }
}
