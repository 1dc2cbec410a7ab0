/** Merges of byte pairs that do what SentencePiece does by the scores of its pieces. */

interface Piece {
  readonly id: number;
  readonly score: number;
}

/**
 * SentencePiece joins the two neighbours whose join has the best score, and so do merges in the order
 * of the scores of what they make, each of them from any two pieces that make it. Equal scores are in
 * the order of ids, as in the files that transformers converts.
 *
 * @param pieces all of them, by their texts
 * @param made those that merges may make
 */
export function mergesByScores(
  pieces: ReadonlyMap<string, Piece>,
  made: readonly { readonly content: string }[],
): [string, string][] {
  const sorted = made.map(({ content }) => ({ content, ...pieces.get(content)! }));
  sorted.sort((a, b) => b.score - a.score || a.id - b.id);
  return sorted.flatMap(({ content }) => splits(content, pieces));
}

/** The pairs of pieces that make a text, in the order of their ids. */
function splits(content: string, pieces: ReadonlyMap<string, Piece>): [string, string][] {
  const found: { readonly pair: [string, string]; readonly left: number }[] = [];
  for (let at = 1; at < content.length; at++) {
    const [left, right] = [pieces.get(content.slice(0, at)), pieces.get(content.slice(at))];
    // Of one text, the left part says which the right one is.
    if (left && right)
      found.push({ pair: [content.slice(0, at), content.slice(at)], left: left.id });
  }
  return found.sort((a, b) => a.left - b.left).map(({ pair }) => pair);
}
