// Sets of characters as the tokenizers library sees them. Its pattern engine (Oniguruma) and Rust's
// regex crate know Unicode 16; a JavaScript engine may know another version, so what came later is
// listed here.

/** A set of code points. */
export interface CharacterSet {
  has(codePoint: number): boolean;
}

type Ranges = readonly (readonly [first: number, last: number])[];

/** Ranges of code points from hexadecimal text, such as "88f a7ce-a7cf". */
function ranges(text: string): Ranges {
  return text.split(" ").map((range) => {
    const [first, last = first] = range.split("-").map((end) => Number.parseInt(end, 16));
    return [first, last] as const;
  });
}

function inRanges(all: Ranges, codePoint: number): boolean {
  let low = 0;
  let high = all.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (codePoint < all[middle][0]) high = middle - 1;
    else if (codePoint > all[middle][1]) low = middle + 1;
    else return true;
  }
  return false;
}

/** Characters of Unicode 17, which are unassigned in Unicode 16 (DerivedAge.txt). */
const UNICODE_17 = ranges(
  "88f c5c cdc 1acf-1add 1ae0-1aeb 20c1 2b96 a7ce-a7cf a7d2 a7d4 a7f1 fbc3-fbd2 fd90-fd91 " +
    "fdc8-fdce 10940-10959 10ec5-10ec7 10ed0-10ed8 10efa-10efb 11b60-11b67 11db0-11ddb " +
    "11de0-11de9 16ea0-16eb8 16ebb-16ed3 16ff2-16ff6 187f8-187ff 18d09-18d1e 18d80-18df2 " +
    "1ccfa-1ccfc 1ceba-1ced0 1cee0-1cef0 1e6c0-1e6de 1e6e0-1e6f5 1e6fe-1e6ff 1f6d8 1f777-1f77a " +
    "1f8d0-1f8d8 1fa54-1fa57 1fa8a 1fa8e 1fac8 1facd 1faea 1faef 1fbfa 2b73a-2b73f 2cea2-2cead " +
    "323b0-33479",
);

/** Punctuation that the library's pre-tokenizers do not count: their table is older than that of patterns. */
const LATER_PUNCTUATION = ranges(
  "61d 9fd a76 c77 c84 1b4e-1b4f 1b7d-1b7f 2e43-2e4f 2e52-2e5d 10d6e 10ead 10ed0 10f55-10f59 " +
    "10f86-10f89 113d4-113d5 113d7-113d8 1144b-1144f 1145a-1145b 1145d 11660-1166c 116b9 1183b " +
    "11944-11946 119e2 11a3f-11a46 11a9a-11a9c 11a9e-11aa2 11b00-11b09 11be1 11c41-11c45 " +
    "11c70-11c71 11ef7-11ef8 11f43-11f4f 11fff 12ff1-12ff2 16d6d-16d6f 16e97-16e9a 16fe2 1e5ff " +
    "1e95e-1e95f",
);
/** Punctuation for the same table that newer ones hold to be symbols. */
const EARLIER_PUNCTUATION = ranges("166d 111c9");

/** A set that asks once for each character of the basic plane and remembers the answer. */
class RememberedSet implements CharacterSet {
  /** By code point: 0 = not asked yet, 1 = no, 2 = yes. */
  #known: Uint8Array | undefined;
  readonly #beyond = new Map<number, boolean>();

  constructor(private readonly ask: (codePoint: number) => boolean) {}

  has(codePoint: number): boolean {
    if (codePoint > 0xffff) {
      const known = this.#beyond.get(codePoint);
      if (known !== undefined) return known;
      const answer = this.ask(codePoint);
      this.#beyond.set(codePoint, answer);
      return answer;
    }
    this.#known ??= new Uint8Array(0x10000);
    const known = this.#known[codePoint];
    if (known !== 0) return known === 2;
    const answer = this.ask(codePoint);
    this.#known[codePoint] = answer ? 2 : 1;
    return answer;
  }
}

/** The set of characters that a function accepts; it is asked once for each. */
export function remembered(ask: (codePoint: number) => boolean): CharacterSet {
  return new RememberedSet(ask);
}

/** The set of one character. */
export function only(codePoint: number): CharacterSet {
  return { has: (other) => other === codePoint };
}

export function between(first: number, last: number): CharacterSet {
  return { has: (codePoint) => codePoint >= first && codePoint <= last };
}

export function union(sets: readonly CharacterSet[]): CharacterSet {
  if (sets.length === 1) return sets[0];
  return remembered((codePoint) => sets.some((set) => set.has(codePoint)));
}

export function complement(set: CharacterSet): CharacterSet {
  return remembered((codePoint) => !set.has(codePoint));
}

export function intersection(sets: readonly CharacterSet[]): CharacterSet {
  if (sets.length === 1) return sets[0];
  return remembered((codePoint) => sets.every((set) => set.has(codePoint)));
}

const CATEGORIES =
  /^(L[ultmo]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfosn]?|Alphabetic)$/;
const SCRIPT = /^[A-Z][a-z]+(_[A-Z][a-z]+)*$/;

/**
 * The characters that have a Unicode property in Unicode 16.
 *
 * @param name a general category such as "Lu", "Alphabetic", or a script such as "Han"
 * @returns the set, or undefined when the name is none of these
 */
export function property(name: string): CharacterSet | undefined {
  const isCategory = CATEGORIES.test(name);
  if (!isCategory && !SCRIPT.test(name)) return undefined;
  let test: RegExp;
  try {
    test = new RegExp(`^\\p{${isCategory ? name : `Script=${name}`}}$`, "u");
  } catch {
    return undefined;
  }
  return remembered((codePoint) => {
    if (inRanges(UNICODE_17, codePoint)) return name === "C" || name === "Cn";
    // Unicode 17 made this small letter one without case.
    if (codePoint === 0x295 && (name === "Ll" || name === "Lo")) return name === "Ll";
    return test.test(String.fromCodePoint(codePoint));
  });
}

function known(name: string): CharacterSet {
  return property(name)!;
}

const WHITE_SPACE_TEST = /^\p{White_Space}$/u;
/** White_Space, which `\s` is in both pattern engines; JavaScript's own `\s` differs from it. */
export const WHITE_SPACE = remembered((codePoint) =>
  WHITE_SPACE_TEST.test(String.fromCodePoint(codePoint)),
);
/** `\w` in a class of Oniguruma. */
export const WORD = union([known("Alphabetic"), known("M"), known("Nd"), known("Pc")]);
/** `\w` of Oniguruma outside a class: with superscript digits and fractions of Latin-1. */
export const WORD_OUTSIDE_CLASS = union([
  WORD,
  between(0xb2, 0xb3),
  only(0xb9),
  between(0xbc, 0xbe),
]);
/** `\w` of Rust's regex crate: with the zero-width joiners. */
export const RUST_WORD = union([WORD, between(0x200c, 0x200d)]);

const NUMERIC_TEST = /^\p{N}$/u;
/** What Rust's `char::is_numeric` accepts, by the Unicode version of the engine that runs this. */
export const NUMERIC = remembered((codePoint) =>
  NUMERIC_TEST.test(String.fromCodePoint(codePoint)),
);

const PUNCTUATION_TEST = /^[\p{P}!-/:-@[-`{-~]$/u;
/** What the library's pre-tokenizers take for punctuation. */
export const PUNCTUATION = remembered(
  (codePoint) =>
    inRanges(EARLIER_PUNCTUATION, codePoint) ||
    (!inRanges(LATER_PUNCTUATION, codePoint) &&
      PUNCTUATION_TEST.test(String.fromCodePoint(codePoint))),
);
