import { toLetters } from "./byte-level.js";
import { NUMERIC, only, PUNCTUATION, RUST_WORD, union, WHITE_SPACE } from "./characters.js";
import type { Fields } from "./fields.js";
import { Pattern } from "./matcher.js";
import { readFinder } from "./normalizer.js";
import {
  BEHAVIORS,
  type Finder,
  patternFinder,
  type SplitRule,
  setFinder,
  stretchFinder,
} from "./split.js";

/** One step from a text to its words: a change of each piece, or a split of each. */
export type Stage =
  | {
      readonly kind: "change";
      /** @param isFirst whether the piece begins where the whole text does */
      change(piece: string, isFirst: boolean): string;
      /** It looks at the piece alone. */
      readonly isPure: boolean;
    }
  | { readonly kind: "split"; readonly rule: SplitRule };

/** GPT-2's words (Radford et al. 2019): contractions, letters, numbers, the rest, white space. */
const GPT2_WORDS =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

function split(find: Finder, behavior: SplitRule["behavior"], invert = false): Stage {
  return { kind: "split", rule: { find, behavior, invert } };
}

/**
 * Reads a `pre_tokenizer` of tokenizer.json.
 *
 * @throws PenjingError for what is not understood
 */
export function readPreTokenizer(fields: Fields): Stage[] {
  const type = fields.text("type");
  switch (type) {
    case "Sequence":
      return fields.parts("pretokenizers").flatMap(readPreTokenizer);
    case "ByteLevel":
      return readByteLevel(fields);
    case "Split": {
      const behavior = fields.choice("behavior", BEHAVIORS);
      return [split(readFinder(fields), behavior, fields.flag("invert"))];
    }
    case "Digits":
      return [
        split(setFinder(NUMERIC), fields.flag("individual_digits") ? "Isolated" : "Contiguous"),
      ];
    case "Punctuation":
      return [split(setFinder(PUNCTUATION), fields.choice("behavior", BEHAVIORS, "Isolated"))];
    case "Metaspace":
      return readMetaspace(fields);
    case "WhitespaceSplit":
      return [split(setFinder(WHITE_SPACE), "Removed")];
    case "Whitespace":
      return [split(runFinder, "Isolated"), split(setFinder(WHITE_SPACE), "Removed")];
    case "BertPreTokenizer":
      return [split(setFinder(WHITE_SPACE), "Removed"), split(setFinder(PUNCTUATION), "Isolated")];
    case "CharDelimiterSplit": {
      const delimiter = fields.character("delimiter").codePointAt(0)!;
      return [split(setFinder(only(delimiter)), "Removed")];
    }
    case "FixedLength":
      return [split(stretchFinder(fields.whole("length", 1)), "Isolated")];
  }
  return fields.refuseUnsupported(`the pre-tokenizer "${type}"`);
}

function readByteLevel(fields: Fields): Stage[] {
  const stages: Stage[] = [];
  if (fields.flag("add_prefix_space")) {
    const change = (piece: string) => (piece.startsWith(" ") ? piece : ` ${piece}`);
    stages.push({ kind: "change", change, isPure: true });
  }
  if (fields.flag("use_regex", true)) {
    stages.push(split(patternFinder(new Pattern(fields.where, GPT2_WORDS)), "Isolated"));
  }
  stages.push({ kind: "change", change: toLetters, isPure: true });
  return stages;
}

const SCHEMES = ["always", "first", "never"] as const;

function readMetaspace(fields: Fields): Stage[] {
  const sign = fields.character("replacement");
  const scheme = fields.choice("prepend_scheme", SCHEMES, "always");
  if (!fields.flag("add_prefix_space", true) && scheme !== "never") {
    fields.refuse("says both to add a space in front and not to; fetch it again");
  }
  const change = (piece: string, isFirst: boolean): string => {
    const changed = piece.replaceAll(" ", sign);
    const isWanted = scheme === "always" || (scheme === "first" && isFirst);
    return isWanted && !changed.startsWith(sign) ? sign + changed : changed;
  };
  const stages: Stage[] = [{ kind: "change", change, isPure: scheme !== "first" }];
  if (fields.flag("split", true)) {
    stages.push(split(setFinder(only(sign.codePointAt(0)!)), "MergedWithNext"));
  }
  return stages;
}

/** Whether a stage asks which piece is the first, behind others that change the text. */
export function looksAtStart(stages: readonly Stage[], wasChanged: boolean): boolean {
  let changed = wasChanged;
  for (const stage of stages) {
    if (stage.kind === "split") continue;
    if (changed && !stage.isPure) return true;
    changed = true;
  }
  return false;
}

const NO_PUNCTUATION_RUN = union([RUST_WORD, WHITE_SPACE]);

/** Runs of word characters and runs of what is neither these nor white space. */
const runFinder: Finder = (text) => ({
  start: 0,
  end: 0,
  next() {
    let at = this.end;
    const size = () => ((text.codePointAt(at) as number) > 0xffff ? 2 : 1);
    while (at < text.length && WHITE_SPACE.has(text.codePointAt(at) as number)) at += size();
    this.start = at;
    const isWord = at < text.length && RUST_WORD.has(text.codePointAt(at) as number);
    const set = isWord ? RUST_WORD : NO_PUNCTUATION_RUN;
    while (at < text.length && set.has(text.codePointAt(at) as number) === isWord) at += size();
    this.end = at;
    return at > this.start;
  },
});
