import { quote } from "../../quote.js";
import { RUST_WORD, WHITE_SPACE } from "./characters.js";
import type { Fields } from "./fields.js";

/** A token that is found in a text before anything else, such as "<s>". */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** It counts only where no word character touches it. */
  readonly singleWord: boolean;
  /** It takes the white space before it, or behind it, too. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** It is looked for in the normalized text, as its normalized content. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/**
 * Reads `added_tokens`. The tokenizers library does not look at the ids that stand there: a token of
 * the model's vocabulary keeps its id, and others follow the vocabulary one by one. A file whose ids
 * say something else is refused, since its tokens would mean others elsewhere.
 *
 * @param vocabulary ids of the model's own tokens
 * @throws PenjingError for tokens that are malformed, repeated, or have other ids
 */
export function readAddedTokens(
  file: Fields,
  vocabulary: ReadonlyMap<string, number>,
): AddedToken[] {
  const tokens: AddedToken[] = [];
  const known = new Set<string>();
  let largest = -1;
  for (const fields of file.get("added_tokens") === undefined ? [] : file.parts("added_tokens")) {
    const token = {
      id: fields.whole("id"),
      content: fields.text("content"),
      singleWord: fields.flag("single_word"),
      lstrip: fields.flag("lstrip"),
      rstrip: fields.flag("rstrip"),
      normalized: fields.flag("normalized"),
      special: fields.flag("special"),
    };
    if (token.content === "") continue;
    if (known.has(token.content)) {
      fields.refuse(`repeats the token ${quote(token.content)}; fetch it again`);
    }
    known.add(token.content);
    const next = largest >= vocabulary.size ? largest + 1 : vocabulary.size;
    const id = vocabulary.get(token.content) ?? next;
    if (id !== token.id) {
      fields.refuse(
        `gives ${quote(token.content)} the id ${token.id}, but the tokenizers library takes ${id}, as ids must follow the vocabulary; save the tokenizer anew with transformers`,
      );
    }
    if (id > largest) largest = id;
    tokens.push(token);
  }
  return tokens;
}

interface TrieNode {
  readonly next: Map<number, TrieNode>;
  /** The token that ends here. */
  token: AddedToken | undefined;
}

/** A stretch of a text: an added token, or what lies between two. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
  readonly token?: AddedToken | undefined;
}

/** UTF-16 units that are searched between looks at the clock. */
const UNITS = 1 << 18;

/**
 * Finds added tokens: the leftmost, the longest of those that begin there. What a token's flags then
 * refuse is not searched again, as in the library.
 */
export class AddedTokenFinder {
  readonly #root: TrieNode = { next: new Map(), token: undefined };
  /** Whether a token begins with a UTF-16 unit. */
  readonly #begins: Uint8Array | undefined;

  /** @param normalize what the tokens' contents are changed by, never to nothing */
  constructor(tokens: readonly AddedToken[], normalize: (text: string) => string) {
    if (tokens.length === 0) return;
    this.#begins = new Uint8Array(0x10000);
    // The library looks at special tokens first; of two that read the same, the first counts.
    const ordered = [...tokens.filter((t) => t.special), ...tokens.filter((t) => !t.special)];
    for (const token of ordered) {
      const content = normalize(token.content);
      this.#begins[content.charCodeAt(0)] = 1;
      let node = this.#root;
      for (let i = 0; i < content.length; i++) {
        const code = content.charCodeAt(i);
        let next = node.next.get(code);
        if (!next) {
          next = { next: new Map(), token: undefined };
          node.next.set(code, next);
        }
        node = next;
      }
      node.token ??= token;
    }
  }

  /** The stretches of a text that is not empty, in order; undefined when it looked at much text. */
  *split(text: string): Generator<Stretch | undefined, void, void> {
    let taken = 0;
    let pause = UNITS;
    const begins = this.#begins;
    for (let at = 0; begins && at < text.length; ) {
      if (at >= pause) {
        pause = at + UNITS;
        yield undefined;
      }
      const found = begins[text.charCodeAt(at)] === 1 ? this.#longest(text, at) : undefined;
      if (!found) {
        at++;
        continue;
      }
      let start = at;
      let { end } = found;
      const { token } = found;
      at = end;
      if (token.singleWord && touchesWord(text, start, end)) continue;
      if (token.lstrip) start = Math.max(spaceBefore(text, start), taken);
      if (token.rstrip) end = spaceBehind(text, end);
      if (taken < start) yield { start: taken, end: start };
      // One whose text the token before has taken as its white space is lost in the library, too.
      if (end > start) yield { start, end, token };
      taken = end;
    }
    if (taken < text.length) yield { start: taken, end: text.length };
  }

  #longest(text: string, at: number): { token: AddedToken; end: number } | undefined {
    let found: { token: AddedToken; end: number } | undefined;
    let node = this.#root;
    for (let i = at; i < text.length; ) {
      const next = node.next.get(text.charCodeAt(i++));
      if (!next) break;
      node = next;
      if (node.token) found = { token: node.token, end: i };
    }
    return found;
  }
}

/** The code point that ends at a place. */
function codeBefore(text: string, at: number): number {
  const code = text.charCodeAt(at - 1);
  return at > 1 && (code & 0xfc00) === 0xdc00 ? (text.codePointAt(at - 2) as number) : code;
}

function touchesWord(text: string, start: number, end: number): boolean {
  return (
    (start > 0 && RUST_WORD.has(codeBefore(text, start))) ||
    (end < text.length && RUST_WORD.has(text.codePointAt(end) as number))
  );
}

// All white space lies in the basic plane.
function spaceBefore(text: string, start: number): number {
  let at = start;
  while (at > 0 && WHITE_SPACE.has(text.charCodeAt(at - 1))) at--;
  return at;
}

function spaceBehind(text: string, end: number): number {
  let at = end;
  while (at < text.length && WHITE_SPACE.has(text.charCodeAt(at))) at++;
  return at;
}
