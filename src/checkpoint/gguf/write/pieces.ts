/** A SentencePiece-like tokenizer as keys: pieces with scores, in the place of merges. */
import { PenjingError } from "../../../errors.js";
import { isJsonObject, type JsonObject, own } from "../../json.js";
import { mergesByScores } from "../sentence-pieces.js";
import { type Parsed, TOKEN, type ToldTokenizer } from "./parsed.js";
import { stepsOf } from "./pre.js";

const PREFIX = "tokenizer.ggml.";
const SIGN = "\u2581";
/** The score of pieces that nothing is merged to. */
const LOWEST = -1e9;

/** How spaces become signs: put in front of a text always, of its beginning alone, or never. */
type Front = "always" | "first" | "never";

/** @throws PenjingError for a tokenizer that is none of SentencePiece's kind */
export function sentencePieceKeys(parsed: Parsed): ToldTokenizer {
  const { where, model, tokens } = parsed;
  const front = frontOf(parsed);
  if (front === undefined || own(model, "byte_fallback") !== true) {
    throw new PenjingError(
      where,
      "its tokenizer is neither one of byte pairs over the letters of GPT-2 nor one like SentencePiece's with bytes for unknown characters, and a GGUF file holds no other; choose another layout.",
    );
  }
  const scores = scoresOf(parsed);
  return {
    keys: {
      [`${PREFIX}model`]: ["STRING", "llama"],
      [`${PREFIX}pre`]: ["STRING", "default"],
      [`${PREFIX}scores`]: ["F32", scores],
      [`${PREFIX}add_space_prefix`]: ["BOOL", front !== "never"],
    },
    notes:
      front === "first" && tokens.some((token) => token?.type === TOKEN.control)
        ? [
            "its tokenizer puts a space in front of a text alone, which llama.cpp does behind each special token too",
          ]
        : [],
  };
}

/** Undefined where spaces do not become signs in a way that llama.cpp knows. */
function frontOf({ normalizer, preTokenizer }: Parsed): Front | undefined {
  const changes = stepsOf(normalizer);
  const splits = stepsOf(preTokenizer);
  const isSigns = ({ type, pattern, content }: JsonObject) =>
    type === "Replace" && content === SIGN && isJsonObject(pattern) && pattern.String === " ";
  const isFront = ({ type, prepend }: JsonObject) => type === "Prepend" && prepend === SIGN;
  const [meta] = splits;
  if (changes.length === 0 && splits.length === 1 && meta.type === "Metaspace") {
    if (meta.replacement !== SIGN || meta.split !== false) return undefined;
    return (own(meta, "prepend_scheme") ?? "always") as Front;
  }
  // Where all spaces became signs, there is nothing left to split at.
  const isIdle = splits.every(
    ({ type, pattern }) => type === "Split" && isJsonObject(pattern) && pattern.String === " ",
  );
  if (!isIdle) return undefined;
  if (changes.length === 1 && isSigns(changes[0])) return "never";
  const isUsual = changes.length === 2 && isFront(changes[0]) && isSigns(changes[1]);
  return isUsual ? "always" : undefined;
}

/**
 * Scores in the order of the merges: a piece that is merged earlier has a greater one.
 *
 * @throws PenjingError where pieces with scores would be merged otherwise
 */
function scoresOf({ where, tokens, merges }: Parsed): number[] {
  const ranks = new Map<string, number>();
  for (const [left, right] of merges) {
    const made = left + right;
    if (!ranks.has(made)) ranks.set(made, ranks.size);
  }
  const scoreOf = (token: (typeof tokens)[number]) => {
    if (token?.type !== TOKEN.normal && token?.type !== TOKEN.userDefined) return 0;
    const rank = ranks.get(token.content);
    return rank === undefined ? LOWEST : -rank - 1;
  };
  const scores = Array.from(tokens, scoreOf);
  checkMerges(where, tokens, merges, scores);
  return scores;
}

/**
 * Whether all merges to one piece are beside one another. Those to added tokens do not matter: a text is
 * taken apart at these first.
 */
function isTogether(tokens: Parsed["tokens"], merges: Parsed["merges"]): boolean {
  const added = new Set(
    tokens.flatMap((token) => (token && token.type !== TOKEN.normal ? [token.content] : [])),
  );
  const seen = new Set<string>();
  let last = "";
  for (const [left, right] of merges) {
    const made = left + right;
    if (added.has(made)) continue;
    if (made !== last && seen.has(made)) return false;
    seen.add(made);
    last = made;
  }
  return true;
}

/** Refuses merges that are not those of all pairs of pieces in the order of what they make. */
function checkMerges(
  where: string,
  tokens: Parsed["tokens"],
  merges: Parsed["merges"],
  scores: readonly number[],
): void {
  const pieces = new Map<string, { id: number; score: number }>();
  const made: { content: string }[] = [];
  for (const [id, token] of Array.from(tokens).entries()) {
    if (!token) continue;
    pieces.set(token.content, { id, score: scores[id] });
    if (token.type === TOKEN.normal || token.type === TOKEN.userDefined) made.push(token);
  }
  const expected = mergesByScores(pieces, made);
  const pairs = new Set(merges.map((pair) => pair.join("\0")));
  const isSame =
    expected.length === merges.length && expected.every((pair) => pairs.has(pair.join("\0")));
  if (isSame && isTogether(tokens, merges)) return;
  throw new PenjingError(
    where,
    "its merges are not those of a SentencePiece model, where every pair of pieces that makes a third is merged in the order of what is made, and a GGUF file says no other order; choose another layout.",
  );
}
