import type { CharacterSet } from "./characters.js";
import type { Pattern } from "./matcher.js";

export const BEHAVIORS = [
  "Removed",
  "Isolated",
  "MergedWithPrevious",
  "MergedWithNext",
  "Contiguous",
] as const;
/** What becomes of the matches that a text is split at; names are those of the tokenizers library. */
export type Behavior = (typeof BEHAVIORS)[number];

/** The matches in one text, from left to right. */
export interface Matches {
  /** Goes to the next match; false when there is none. */
  next(): boolean;
  /** Of the match; `end` may be `start`. */
  start: number;
  end: number;
}

/** What a text is split at. */
export type Finder = (text: string) => Matches;

/** Matches of a pattern; like Oniguruma's, none is empty at the end of the one before. */
export function patternFinder(pattern: Pattern): Finder {
  return (text) => {
    let from = 0;
    let last = -1;
    let steps = 0;
    return {
      start: 0,
      end: 0,
      next() {
        // Other texts may have been searched in between.
        pattern.open(text, steps);
        while (from <= text.length && pattern.find(from)) {
          const { start, end } = pattern;
          steps = pattern.steps;
          if (start === end && end === last) {
            from += (text.charCodeAt(from) & 0xfc00) === 0xd800 ? 2 : 1;
            continue;
          }
          this.start = start;
          this.end = end;
          from = end;
          last = end;
          return true;
        }
        return false;
      },
    };
  };
}

/** Each occurrence of a text that is not empty. */
export function textFinder(wanted: string): Finder {
  return (text) => ({
    start: 0,
    end: 0,
    next() {
      this.start = text.indexOf(wanted, this.end);
      this.end = this.start + wanted.length;
      return this.start >= 0;
    },
  });
}

/** Each character of a set. */
export function setFinder(set: CharacterSet): Finder {
  return (text) => ({
    start: 0,
    end: 0,
    next() {
      for (let at = this.end; at < text.length; ) {
        const code = text.codePointAt(at) as number;
        const end = code > 0xffff ? at + 2 : at + 1;
        if (set.has(code)) {
          this.start = at;
          this.end = end;
          return true;
        }
        at = end;
      }
      return false;
    },
  });
}

/** Stretches of some characters each; the last may be shorter. */
export function stretchFinder(length: number): Finder {
  return (text) => ({
    start: 0,
    end: 0,
    next() {
      this.start = this.end;
      for (let i = 0; i < length && this.end < text.length; i++) {
        this.end += (text.codePointAt(this.end) as number) > 0xffff ? 2 : 1;
      }
      return this.end > this.start;
    },
  });
}

export interface SplitRule {
  readonly find: Finder;
  readonly behavior: Behavior;
  /** What lies between the matches counts as matches, and they do not. */
  readonly invert?: boolean | undefined;
}

/**
 * One text being split, some pieces at a time. Matches and what lies between them follow one another;
 * the behaviour says which of these join.
 */
export class Splitting {
  readonly #matches: Matches;
  readonly #behavior: Behavior;
  readonly #invert: boolean;
  /** End of what was taken from the text. */
  #taken = 0;
  /** A piece that what follows may still join, if its end is beyond its start or `#holds`. */
  #start = 0;
  #end = 0;
  #holds = false;
  #wasMatch = false;
  #bounds: number[] = [];

  constructor(
    private readonly text: string,
    { find, behavior, invert = false }: SplitRule,
  ) {
    this.#matches = find(text);
    this.#behavior = behavior;
    this.#invert = invert;
  }

  /**
   * Appends the start and the end of further pieces, none of them empty.
   *
   * @param bounds about `most` pairs are added
   * @returns whether more may follow
   */
  more(bounds: number[], most: number): boolean {
    this.#bounds = bounds;
    const full = bounds.length + 2 * most;
    while (bounds.length < full) {
      const matches = this.#matches;
      if (!matches.next()) {
        if (this.#taken < this.text.length) this.#element(this.#taken, this.text.length, false);
        if (this.#holds) this.#put(this.#start, this.#end);
        return false;
      }
      if (this.#taken < matches.start) this.#element(this.#taken, matches.start, false);
      this.#element(matches.start, matches.end, true);
      this.#taken = matches.end;
    }
    return true;
  }

  #put(start: number, end: number): void {
    if (end > start) this.#bounds.push(start, end);
  }

  #element(start: number, end: number, matched: boolean): void {
    const isMatch = matched !== this.#invert;
    if (this.#behavior === "Isolated") {
      this.#put(start, end);
      return;
    }
    if (this.#behavior === "Removed") {
      if (!isMatch) this.#put(start, end);
      return;
    }
    if (this.#holds && this.#joins(isMatch)) {
      this.#end = end;
    } else {
      if (this.#holds) this.#put(this.#start, this.#end);
      this.#start = start;
      this.#end = end;
      this.#holds = true;
    }
    this.#wasMatch = isMatch;
  }

  /** Whether an element joins the one before it. */
  #joins(isMatch: boolean): boolean {
    if (this.#behavior === "Contiguous") return isMatch === this.#wasMatch;
    if (this.#behavior === "MergedWithPrevious") return isMatch && !this.#wasMatch;
    return !isMatch && this.#wasMatch;
  }
}
