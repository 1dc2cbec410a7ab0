import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import type { Fields } from "./fields.js";
import { MergeQueue } from "./merge-queue.js";
import { MergeRules } from "./merge-rules.js";

/** Merges between looks at the clock. */
const MERGES = 1 << 15;
/** Characters of a word from which it is cut where nothing can merge. */
const LONG = 256;
/** Parts of long words whose ids are remembered. */
const REMEMBERED = 1 << 16;

/** A pair of token texts, as an older or a newer file has it. */
export type Merge = string | readonly [left: string, right: string];

/** What the encoder of a byte-pair model is made of. */
export interface BytePairModel {
  /** Ids of the model's tokens, by text. */
  readonly tokenIds: ReadonlyMap<string, number>;
  /** Pairs of token texts, the one to apply first at the front; "left right" is one, too. */
  readonly merges: readonly Merge[];
  /** The token for characters that no token covers; without one they vanish. */
  readonly unknown?: string | undefined;
  /** Neighbouring unknown characters are one token. */
  readonly fuseUnknown?: boolean | undefined;
  /** A character without a token becomes the tokens of its bytes, such as "<0xE2>". */
  readonly byteFallback?: boolean | undefined;
  /** A word that is a token is not merged. */
  readonly ignoreMerges?: boolean | undefined;
}

/**
 * Byte-pair encoding of words of any length in O(n log n): of all adjacent pairs that can be merged,
 * the one of lowest rank, the leftmost of equals, is merged first, until none is left.
 * (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", 3.2.)
 *
 * Some tokenizers have no pre-tokenizer, so that a whole text is one word. It is cut where no merge
 * joins the characters on both sides, which changes nothing.
 */
export class BytePairEncoder {
  readonly #rules: MergeRules;
  /** By UTF-16 unit, the id of the character plus two; 1 = it has none, 0 = not looked up yet. */
  readonly #unitIds = new Int32Array(0x10000);
  readonly #byteIds: Int32Array | undefined;
  readonly #unknownId: number | undefined;
  /** Pairs of a token's last and the next one's first character at which merges join. */
  #joints: Set<number> | undefined;
  readonly #parts = new Map<string, readonly number[]>();

  /**
   * @param where the file, for messages
   * @throws PenjingError for merges of tokens that the vocabulary lacks
   */
  constructor(
    private readonly where: string,
    private readonly model: BytePairModel,
  ) {
    const { tokenIds, merges, unknown, byteFallback } = model;
    this.#rules = new MergeRules(merges.length);
    const idOf = (token: string): number => {
      const id = tokenIds.get(token);
      if (id !== undefined) return id;
      throw new PenjingError(
        where,
        `its merges name the token ${quote(token)}, which its vocabulary lacks; fetch the file again.`,
      );
    };
    for (let rank = 0; rank < merges.length; rank++) {
      const left = leftOf(merges[rank]);
      const right = rightOf(merges[rank]);
      this.#rules.set(idOf(left), idOf(right), rank, idOf(left + right));
    }
    this.#unknownId = unknown === undefined ? undefined : tokenIds.get(unknown);
    if (byteFallback) {
      const name = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
      this.#byteIds = Int32Array.from({ length: 256 }, (_, byte) => tokenIds.get(name(byte)) ?? -1);
    }
  }

  /** Appends the ids of a word to `ids`; may be left, and continued, between steps. */
  *encode(word: string, ids: number[]): Generator<undefined, void, void> {
    if (this.model.ignoreMerges) {
      const id = this.model.tokenIds.get(word);
      if (id !== undefined) {
        ids.push(id);
        return;
      }
    }
    if (word.length < LONG) {
      yield* this.#merge(word, ids);
      return;
    }
    let start = 0;
    let work = 0;
    while (start < word.length) {
      const end = this.#cut(word, start);
      const part = word.slice(start, end);
      start = end;
      let found = this.#parts.get(part);
      if (!found) {
        const made: number[] = [];
        yield* this.#merge(part, made);
        if (part.length < LONG) {
          if (this.#parts.size >= REMEMBERED) this.#parts.clear();
          this.#parts.set(part, made);
        }
        found = made;
      }
      // An argument for each would fill the stack.
      for (let i = 0; i < found.length; i++) ids.push(found[i]);
      work += part.length;
      if (work < MERGES) continue;
      work = 0;
      yield;
    }
  }

  /** The next place behind `start` where a word may be cut, or its end. */
  #cut(word: string, start: number): number {
    this.#joints ??= this.#findJoints();
    let left = word.codePointAt(start) as number;
    let isKnown = this.#idOf(left) >= 0;
    let at = start + (left > 0xffff ? 2 : 1);
    while (at < word.length) {
      const right = word.codePointAt(at) as number;
      const isRightKnown = this.#idOf(right) >= 0;
      // What stands for unknown characters depends on its neighbours.
      if (isKnown && isRightKnown && !this.#joints.has(left * 0x200000 + right)) return at;
      left = right;
      isKnown = isRightKnown;
      at += right > 0xffff ? 2 : 1;
    }
    return at;
  }

  /**
   * A merge can join the characters on both sides of a place only if these are the last one of its
   * left token and the first one of its right token.
   */
  #findJoints(): Set<number> {
    const joints = new Set<number>();
    for (const merge of this.model.merges) {
      const left = leftOf(merge);
      const right = rightOf(merge);
      const low = left.charCodeAt(left.length - 1);
      const isPair = left.length > 1 && (low & 0xfc00) === 0xdc00;
      const last = isPair ? (left.codePointAt(left.length - 2) as number) : low;
      joints.add(last * 0x200000 + (right.codePointAt(0) as number));
    }
    return joints;
  }

  /** The id of a character, or -1. */
  #idOf(codePoint: number): number {
    if (codePoint > 0xffff) return this.model.tokenIds.get(String.fromCodePoint(codePoint)) ?? -1;
    const known = this.#unitIds[codePoint];
    if (known !== 0) return known - 2;
    const id = this.model.tokenIds.get(String.fromCharCode(codePoint)) ?? -1;
    this.#unitIds[codePoint] = id + 2;
    return id;
  }

  /** The ids of a word's characters. */
  #symbols(word: string): number[] {
    const symbols: number[] = [];
    let unknowns = 0;
    const putUnknowns = () => {
      for (; unknowns > 0; unknowns--) symbols.push(this.#unknownId as number);
    };
    for (let i = 0; i < word.length; i++) {
      const codePoint = word.codePointAt(i) as number;
      if (codePoint > 0xffff) i++;
      const id = this.#idOf(codePoint);
      if (id >= 0) {
        putUnknowns();
        symbols.push(id);
        continue;
      }
      const bytes = this.#byteIds && this.#bytesOf(codePoint);
      if (bytes) {
        // The library leaves unknown characters before these waiting, and so puts them behind.
        symbols.push(...bytes);
      } else if (this.model.unknown !== undefined) {
        if (this.#unknownId === undefined) this.#refuseUnknown(codePoint);
        if (!this.model.fuseUnknown) putUnknowns();
        unknowns = 1;
      }
    }
    putUnknowns();
    return symbols;
  }

  #refuseUnknown(codePoint: number): never {
    throw new PenjingError(
      this.where,
      `the text has ${quote(String.fromCodePoint(codePoint))}, for which it has no token, and its unknown token ${quote(this.model.unknown)} is not in its vocabulary; fetch the file again.`,
    );
  }

  /** The ids of a character's UTF-8 bytes, if all have one. */
  #bytesOf(codePoint: number): number[] | undefined {
    const bytes = new TextEncoder().encode(String.fromCodePoint(codePoint));
    const ids = Array.from(bytes, (byte) => (this.#byteIds as Int32Array)[byte]);
    return ids.includes(-1) ? undefined : ids;
  }

  *#merge(word: string, ids: number[]): Generator<undefined, void, void> {
    const symbols = this.#symbols(word);
    const count = symbols.length;
    if (count < 2) {
      ids.push(...symbols);
      return;
    }
    const rules = this.#rules;
    // A symbol that is merged into the one before becomes -1.
    const next = new Int32Array(count);
    const previous = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      next[i] = i + 1 < count ? i + 1 : -1;
      previous[i] = i - 1;
    }
    const queue = new MergeQueue();
    const consider = (at: number): void => {
      if (next[at] < 0) return;
      const rule = rules.find(symbols[at], symbols[next[at]]);
      if (rule >= 0) queue.push(rules.rank(rule), at, symbols[at], symbols[next[at]]);
    };
    let work = 0;
    for (let i = 0; i + 1 < count; i++) {
      consider(i);
      if (++work % MERGES === 0) yield;
    }
    while (queue.pop()) {
      if (++work % MERGES === 0) yield;
      const { at } = queue;
      const second = next[at];
      if (symbols[at] !== queue.left || second < 0 || symbols[second] !== queue.right) continue;
      symbols[at] = rules.result(rules.find(queue.left, queue.right));
      symbols[second] = -1;
      next[at] = next[second];
      if (next[at] >= 0) previous[next[at]] = at;
      if (previous[at] >= 0) consider(previous[at]);
      consider(at);
    }
    for (let i = 0; i >= 0; i = next[i]) ids.push(symbols[i]);
  }
}

function leftOf(merge: Merge): string {
  return typeof merge === "string" ? merge.slice(0, merge.indexOf(" ")) : merge[0];
}

function rightOf(merge: Merge): string {
  return typeof merge === "string" ? merge.slice(merge.indexOf(" ") + 1) : merge[1];
}

/**
 * The merges of a byte-pair model.
 *
 * @throws PenjingError for what is no pair
 */
export function readMerges(fields: Fields): readonly Merge[] {
  const list = fields.list("merges");
  const areLines = typeof list[0] === "string";
  const isPair = (value: unknown): boolean => {
    if (areLines) {
      const gap = typeof value === "string" ? value.indexOf(" ") : -1;
      return gap >= 0 && (value as string).indexOf(" ", gap + 1) < 0;
    }
    const isTwo = Array.isArray(value) && value.length === 2;
    return isTwo && typeof value[0] === "string" && typeof value[1] === "string";
  };
  const isNote = (value: unknown) => typeof value === "string" && value.startsWith("#version");
  const merges = areLines && list.some(isNote) ? list.filter((value) => !isNote(value)) : list;
  for (let i = 0; i < merges.length; i++) {
    if (isPair(merges[i])) continue;
    fields.refuse(
      `has ${quote(merges[i])} among its merges, must be pairs of tokens; fetch it again`,
    );
  }
  return merges as readonly Merge[];
}
