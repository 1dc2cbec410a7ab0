/** Which blocks of a model lie in which memory. */

/** What blocks take of a memory, in bytes. */
export interface BlockBytes {
  /** While it is held, its part of a cache included. */
  readonly held: number;
  /** While it is loaded. */
  readonly peak: number;
}

/**
 * Shares blocks out to as few memories as hold them, in order.
 *
 * @param outer what the first memory holds beside blocks
 * @param running what running takes in each beside its blocks
 * @returns the first block of each memory but the first; undefined where one block alone has no room
 */
export function shareOut(
  blocks: readonly BlockBytes[],
  {
    outer,
    running,
    most,
  }: { readonly outer: number; readonly running: number; readonly most: number },
): number[] | undefined {
  const starts: number[] = [];
  let live = outer + running;
  let isFresh = outer === 0;
  for (const [layer, { held, peak }] of blocks.entries()) {
    if (live + Math.max(held, peak) > most) {
      // The first memory may hold no block at all.
      if (isFresh) return undefined;
      starts.push(layer);
      live = running;
      if (live + Math.max(held, peak) > most) return undefined;
    }
    isFresh = false;
    live += held;
  }
  return starts;
}
