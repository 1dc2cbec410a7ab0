/**
 * A min-heap of merges that could be applied, ordered by rank and then by position, as parallel
 * arrays of numbers. An entry is stale when its two symbols have changed since it was pushed.
 */
export class MergeQueue {
  readonly #rank: number[] = [];
  readonly #at: number[] = [];
  readonly #left: number[] = [];
  readonly #right: number[] = [];
  /** The entry that `pop` took out. */
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
