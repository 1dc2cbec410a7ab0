import { toLetters } from "./byte-level.js";
import type { Fields } from "./fields.js";
import { Pattern } from "./matcher.js";
import { type Finder, patternFinder, textFinder } from "./split.js";

/** One change of a text before it is split into words. */
export interface Normalizer {
  change(text: string): string;
  /** The text may be cut before any ASCII letter and its parts changed one by one. */
  readonly isLocal?: boolean | undefined;
}

const FORMS = ["NFC", "NFD", "NFKC", "NFKD"] as const;
const LEADING_SPACE = /^\p{White_Space}+/u;
const TRAILING_SPACE = /\p{White_Space}+$/u;

/** What a `pattern` of tokenizer.json finds. */
export function readFinder(fields: Fields): Finder {
  const pattern = fields.part("pattern");
  const isText = pattern.get("String") !== undefined;
  if (isText && pattern.get("Regex") !== undefined) pattern.refuse("names both String and Regex");
  const source = pattern.text(isText ? "String" : "Regex");
  if (source === "") pattern.refuseUnsupported("an empty pattern");
  return isText ? textFinder(source) : patternFinder(new Pattern(fields.where, source));
}

/** A change that puts `content` in place of every match. */
export function replacement(find: Finder, content: string): (text: string) => string {
  return (text) => {
    const matches = find(text);
    let changed = "";
    let taken = 0;
    while (matches.next()) {
      changed += text.slice(taken, matches.start) + content;
      taken = matches.end;
    }
    return taken === 0 && changed === "" ? text : changed + text.slice(taken);
  };
}

/**
 * Reads a `normalizer` of tokenizer.json. The lossy ones of encoder models (BertNormalizer,
 * StripAccents, Nmt, Precompiled) are refused by name.
 *
 * @throws PenjingError for what is not understood
 */
export function readNormalizers(fields: Fields): Normalizer[] {
  const type = fields.text("type");
  switch (type) {
    case "Sequence":
      return fields.parts("normalizers").flatMap(readNormalizers);
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD": {
      const form = FORMS.find((name) => name === type)!;
      return [{ change: (text) => text.normalize(form), isLocal: true }];
    }
    case "Lowercase":
      // One character at a time: JavaScript otherwise knows the final sigma, which Rust does not.
      return [
        {
          change: (text) => text.replace(/[\s\S]/gu, (letter) => letter.toLowerCase()),
          isLocal: true,
        },
      ];
    case "Prepend": {
      const prefix = fields.text("prepend");
      return [{ change: (text) => (text === "" ? text : prefix + text) }];
    }
    case "Replace": {
      return [{ change: replacement(readFinder(fields), fields.text("content")) }];
    }
    case "Strip": {
      const left = fields.flag("strip_left");
      const right = fields.flag("strip_right");
      const change = (text: string): string => {
        const rest = left ? text.replace(LEADING_SPACE, "") : text;
        return right ? rest.replace(TRAILING_SPACE, "") : rest;
      };
      return [{ change }];
    }
    case "ByteLevel":
      return [{ change: toLetters, isLocal: true }];
  }
  return fields.refuseUnsupported(`the normalizer "${type}"`);
}
