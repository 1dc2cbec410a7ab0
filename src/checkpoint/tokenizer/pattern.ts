import {
  between,
  type CharacterSet,
  complement,
  intersection,
  only,
  property,
  remembered,
  union,
  WHITE_SPACE,
  WORD,
  WORD_OUTSIDE_CLASS,
} from "./characters.js";

/** How a repetition chooses how often: as often as it can, as seldom, or without ever giving back. */
export type Greed = "greedy" | "lazy" | "possessive";

/** A parsed pattern. */
export type Node =
  | { readonly kind: "set"; readonly set: CharacterSet }
  | { readonly kind: "sequence"; readonly nodes: readonly Node[] }
  | { readonly kind: "choice"; readonly nodes: readonly Node[] }
  | { readonly kind: "atomic"; readonly node: Node }
  | { readonly kind: "look"; readonly node: Node; readonly behind: boolean; readonly not: boolean }
  | { readonly kind: "edge"; readonly edge: "text-start" | "text-end" | "line-start" | "line-end" }
  | {
      readonly kind: "repeat";
      readonly node: Node;
      readonly min: number;
      readonly max: number;
      readonly greed: Greed;
    };

/** What in a pattern is not understood; the message completes "it uses ". */
export class PatternFault extends Error {}

/** Most repetitions of a group, which are written out. */
const MOST_GROUP_REPEATS = 16;
/** Deepest nesting of groups and classes. */
const DEEPEST = 32;
/** Pairs of letters that ignoring case also matches to one character, such as "ss" to "ß". */
const FOLDED_PAIRS = /^(ss|ff|fi|fl|st)$/;

const DIGIT = property("Nd")!;
const HEX = union([between(48, 57), between(65, 70), between(97, 102)]);
const NOT_NEWLINE: CharacterSet = { has: (code) => code !== 10 };

/** Escapes of one character. */
const ESCAPES: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, a: 7, e: 27 };
/** Escapes of sets; their capitals are the complements. */
const SETS: Readonly<Record<string, CharacterSet>> = {
  s: WHITE_SPACE,
  d: DIGIT,
  h: HEX,
  w: WORD,
};

/**
 * Reads the part of Oniguruma's pattern syntax (Ruby's flavour, as the tokenizers library sets it)
 * that tokenizers use: choices, groups, sets, repetitions of sets, looks around.
 *
 * @throws PatternFault naming what is not understood
 */
export function parsePattern(source: string): Node {
  return new Parser(source).whole();
}

class Parser {
  readonly #characters: readonly string[];
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#characters = Array.from(source);
  }

  whole(): Node {
    const node = this.#choice(false);
    if (this.#at < this.#characters.length) throw new PatternFault('a ")" without a "("');
    return node;
  }

  #peek(text: string): boolean {
    for (let i = 0; i < text.length; i++) {
      if (this.#characters[this.#at + i] !== text[i]) return false;
    }
    return true;
  }

  #take(text: string): boolean {
    const found = this.#peek(text);
    if (found) this.#at += text.length;
    return found;
  }

  #next(): string {
    const character = this.#characters[this.#at++];
    if (character === undefined) throw new PatternFault("an unfinished part at its end");
    return character;
  }

  #choice(folds: boolean): Node {
    if (++this.#depth > DEEPEST) throw new PatternFault(`more than ${DEEPEST} nested groups`);
    const nodes = [this.#sequence(folds)];
    while (this.#take("|")) nodes.push(this.#sequence(folds));
    this.#depth--;
    return nodes.length === 1 ? nodes[0] : { kind: "choice", nodes };
  }

  #sequence(folds: boolean): Node {
    const nodes: Node[] = [];
    let before = "";
    while (this.#at < this.#characters.length && !this.#peek("|") && !this.#peek(")")) {
      const letter = this.#characters[this.#at];
      if (folds && FOLDED_PAIRS.test((before + letter).toLowerCase())) {
        throw new PatternFault(`"${before}${letter}" in a group that ignores case`);
      }
      before = letter;
      const atom = this.#atom(folds);
      const node = this.#repeated(atom);
      if (folds && node !== atom) throw new PatternFault("repetition in a group that ignores case");
      nodes.push(node);
    }
    return nodes.length === 1 ? nodes[0] : { kind: "sequence", nodes };
  }

  #atom(folds: boolean): Node {
    if (this.#take("(")) return this.#group(folds);
    if (this.#take("[")) return { kind: "set", set: this.#class(folds) };
    const character = this.#next();
    switch (character) {
      case ".":
        return { kind: "set", set: NOT_NEWLINE };
      case "^":
        return { kind: "edge", edge: "line-start" };
      case "$":
        return { kind: "edge", edge: "line-end" };
      case "\\": {
        if (this.#take("A")) return { kind: "edge", edge: "text-start" };
        if (this.#take("z")) return { kind: "edge", edge: "text-end" };
        const escaped = this.#escape(false);
        return { kind: "set", set: typeof escaped === "number" ? folded(escaped, folds) : escaped };
      }
      case "*":
      case "+":
      case "?":
      case "{":
        throw new PatternFault(`"${character}" where nothing can be repeated`);
    }
    return { kind: "set", set: folded(character.codePointAt(0)!, folds) };
  }

  #group(folds: boolean): Node {
    let wrap = (node: Node): Node => node;
    let foldsWithin = folds;
    if (this.#take("?i:")) foldsWithin = true;
    else if (this.#take("?>")) wrap = (node) => ({ kind: "atomic", node });
    else if (this.#take("?=")) wrap = (node) => ({ kind: "look", node, behind: false, not: false });
    else if (this.#take("?!")) wrap = (node) => ({ kind: "look", node, behind: false, not: true });
    else if (this.#take("?<=")) wrap = (node) => ({ kind: "look", node, behind: true, not: false });
    else if (this.#take("?<!")) wrap = (node) => ({ kind: "look", node, behind: true, not: true });
    else if (!this.#take("?:") && this.#peek("?")) {
      const kind = this.#characters.slice(this.#at, this.#at + 3).join("");
      throw new PatternFault(`a group of the kind "(${kind}"`);
    }
    const node = wrap(this.#choice(foldsWithin));
    if (!this.#take(")")) throw new PatternFault('a "(" without a ")"');
    if (node.kind === "look" && node.behind && node.node.kind !== "set") {
      throw new PatternFault("a look back at more than one character");
    }
    return node;
  }

  /** The repetition behind an atom. */
  #repeated(node: Node): Node {
    const range = this.#range();
    if (!range) return node;
    if (node.kind === "look" || node.kind === "edge") {
      throw new PatternFault("a repetition of what has no length");
    }
    let { min, max } = range;
    let greed: Greed = "greedy";
    if (this.#take("?")) {
      if (range.braced && min === max) throw new PatternFault('"?" behind a fixed count');
      greed = "lazy";
    } else if (this.#take("+")) {
      if (!range.braced) {
        greed = "possessive";
      } else {
        // Here `{1,3}+` is a repetition of a repetition, not a possessive one.
        if (min > 1) throw new PatternFault('"+" behind a count');
        max = Number.POSITIVE_INFINITY;
      }
    }
    if (this.#peek("*") || this.#peek("+") || this.#peek("?") || this.#range()) {
      throw new PatternFault("a repetition of a repetition");
    }
    if (node.kind !== "set" && max > MOST_GROUP_REPEATS) {
      throw new PatternFault(`a group repeated more than ${MOST_GROUP_REPEATS} times`);
    }
    return { kind: "repeat", node, min, max, greed };
  }

  #range(): { min: number; max: number; braced: boolean } | undefined {
    const most = Number.POSITIVE_INFINITY;
    if (this.#take("*")) return { min: 0, max: most, braced: false };
    if (this.#take("+")) return { min: 1, max: most, braced: false };
    if (this.#take("?")) return { min: 0, max: 1, braced: false };
    if (!this.#peek("{")) return undefined;
    const rest = this.#characters.slice(this.#at, this.#at + 16).join("");
    const found = /^\{(\d{0,4})(,?)(\d{0,4})\}/.exec(rest);
    if (!found || (found[1] === "" && found[3] === "")) {
      throw new PatternFault('a "{" that is no count');
    }
    this.#at += found[0].length;
    const min = Number(found[1]);
    const max = !found[2] ? min : found[3] === "" ? most : Number(found[3]);
    if (max < min || max === 0) throw new PatternFault(`the count "${found[0]}"`);
    return { min, max, braced: true };
  }

  /** What follows a backslash: a code point, or a set. */
  #escape(inClass: boolean): number | CharacterSet {
    const character = this.#next();
    if (Object.hasOwn(ESCAPES, character)) return ESCAPES[character];
    const lower = character.toLowerCase();
    if (Object.hasOwn(SETS, lower)) {
      const set = lower === "w" && !inClass ? WORD_OUTSIDE_CLASS : SETS[lower];
      return character === lower ? set : complement(set);
    }
    if (lower === "p") return this.#property(character === "P");
    if (character === "x" || character === "u") return this.#code(character);
    if (/[A-Za-z0-9]/.test(character)) throw new PatternFault(`"\\${character}"`);
    return character.codePointAt(0)!;
  }

  #property(isComplement: boolean): CharacterSet {
    const rest = this.#characters.slice(this.#at, this.#at + 40).join("");
    const found = /^\{(\^?)([A-Za-z_]+)\}/.exec(rest);
    const set = found && property(found[2]);
    if (!set) throw new PatternFault(`the property "${rest.slice(0, rest.indexOf("}") + 1)}"`);
    this.#at += found[0].length;
    return (found[1] === "^") === isComplement ? set : complement(set);
  }

  #code(kind: string): number {
    const rest = this.#characters.slice(this.#at, this.#at + 10).join("");
    const digits =
      kind === "u" ? /^([0-9A-Fa-f]{4})/ : /^(?:\{([0-9A-Fa-f]{1,6})\}|([0-7][0-9A-Fa-f]))/;
    const found = digits.exec(rest);
    const code = found ? Number.parseInt(found[1] ?? found[2], 16) : Number.NaN;
    if (!found || !(code <= 0x10ffff)) throw new PatternFault(`"\\${kind}${rest}"`);
    this.#at += found[0].length;
    return code;
  }

  /** A class, from behind its opening bracket. */
  #class(folds: boolean): CharacterSet {
    if (++this.#depth > DEEPEST) throw new PatternFault(`more than ${DEEPEST} nested classes`);
    const isComplement = this.#take("^");
    if (this.#peek("]")) throw new PatternFault("an empty class");
    const operands: CharacterSet[] = [];
    let sets: CharacterSet[] = [];
    const endOperand = () => {
      if (sets.length === 0) throw new PatternFault("an intersection with nothing");
      operands.push(union(sets));
      sets = [];
    };
    while (!this.#take("]")) {
      if (this.#take("&&")) endOperand();
      else if (this.#peek("[:")) throw new PatternFault("a POSIX class");
      else if (this.#take("[")) sets.push(this.#class(folds));
      else sets.push(this.#member(folds));
    }
    endOperand();
    this.#depth--;
    const set = intersection(operands);
    if (!isComplement) return set;
    if (folds) throw new PatternFault("a complement in a group that ignores case");
    return complement(set);
  }

  /** A character, an escaped set or a range of a class. */
  #member(folds: boolean): CharacterSet {
    const isDash = this.#peek("-");
    const first = this.#classCharacter();
    if (typeof first !== "number") {
      if (folds) throw new PatternFault("a set in a group that ignores case");
      if (this.#peek("-") && this.#characters[this.#at + 1] !== "]") {
        throw new PatternFault("a range that begins with a set");
      }
      return first;
    }
    if (!this.#peek("-") || this.#characters[this.#at + 1] === "]") return folded(first, folds);
    if (isDash || folds) throw new PatternFault(`a range from "${String.fromCodePoint(first)}"`);
    this.#at++;
    const last = this.#classCharacter();
    if (typeof last !== "number" || last < first || this.#peek("-")) {
      throw new PatternFault("a range with an unclear end");
    }
    return between(first, last);
  }

  #classCharacter(): number | CharacterSet {
    const character = this.#next();
    if (character === "\\") return this.#escape(true);
    return character.codePointAt(0)!;
  }
}

/** A character, with what it equals when case is ignored. */
function folded(codePoint: number, folds: boolean): CharacterSet {
  if (!folds) return only(codePoint);
  if (codePoint > 0x7f) throw new PatternFault("other letters than ASCII where case is ignored");
  const character = String.fromCodePoint(codePoint);
  if (!/[A-Za-z]/.test(character)) return only(codePoint);
  const test = new RegExp(`^${character}$`, "iu");
  return remembered((other) => test.test(String.fromCodePoint(other)));
}
