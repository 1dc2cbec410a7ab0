/** Merges of byte pairs that do what SentencePiece does by the scores of its pieces. */

interface Piece {
  readonly id: number;
  readonly score: number;
}

/**
 * SentencePiece joins the two neighbours whose join has the best score, and so do merges in the order
 * of the scores of what they make, each of them from any two pieces that make it.
 *
 * @param pieces all of them, by their texts
 * @param made those that merges may make
 * @returns the best first; of one piece, the longest first part first
 */
export function mergesByScores(
  pieces: ReadonlyMap<string, Piece>,
  made: readonly { readonly content: string }[],
): [string, string][] {
  const merges: { readonly pair: [string, string]; readonly score: number; readonly id: number }[] =
    [];
  for (const { content } of made) {
    const { score, id } = pieces.get(content)!;
    for (let at = 1; at < content.length; at++) {
      const pair: [string, string] = [content.slice(0, at), content.slice(at)];
      if (pieces.has(pair[0]) && pieces.has(pair[1])) merges.push({ pair, score, id });
    }
  }
  merges.sort((a, b) => b.score - a.score || b.pair[0].length - a.pair[0].length || a.id - b.id);
  return merges.map(({ pair }) => pair);
}
