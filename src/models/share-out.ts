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
  if (live > most) return undefined;
  for (const [layer, { held, peak }] of blocks.entries()) {
    const needed = Math.max(held, peak);
    if (live + needed > most) {
      starts.push(layer);
      live = running;
    }
    if (live + needed > most) return undefined;
    live += held;
  }
  return starts;
}
