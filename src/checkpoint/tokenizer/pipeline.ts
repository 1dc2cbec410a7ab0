import { type AddedToken, AddedTokenFinder, type Stretch } from "./added-tokens.js";
import type { Normalizer } from "./normalizer.js";
import type { Stage } from "./pre-tokenizer.js";
import { Splitting } from "./split.js";

/** Appends the ids of a word, in steps. */
export interface WordEncoder {
  encode(word: string, ids: number[]): Generator<undefined, void, void>;
}

/** Pieces that a text is split into between looks at the clock. */
const BATCH = 1024;
/** UTF-16 units up to which a piece is encoded in one go. */
const SMALL = 4096;
/** UTF-16 units that are normalized in one go, where that may be cut. */
const STRETCH = 1 << 18;
/** Words whose ids are remembered, and their longest. */
const REMEMBERED = 1 << 16;
const LONGEST_REMEMBERED = 64;

/** Token ids of one text, as far as they are encoded. */
export interface Encoding {
  readonly ids: number[];
  /** UTF-16 units of the text that are done. */
  done: number;
}

/**
 * From a text to ids, as the tokenizers library goes: added tokens are found, what lies between is
 * normalized and searched for normalized added tokens, the rest is split into pieces by the
 * pre-tokenizer, and each piece is encoded by itself.
 */
export class Pipeline {
  readonly #plain: AddedTokenFinder;
  readonly #normalized: AddedTokenFinder;
  readonly #stages: readonly Stage[];
  /** What is done to a piece last, before it is a word. */
  readonly #changes: ((piece: string) => string)[] = [];
  readonly #words = new Map<string, readonly number[]>();

  constructor(
    added: readonly AddedToken[],
    private readonly normalizers: readonly Normalizer[],
    stages: readonly Stage[],
    private readonly model: WordEncoder,
  ) {
    const whole = (text: string) => normalizers.reduce((t, { change }) => change(t), text);
    this.#plain = new AddedTokenFinder(
      added.filter(({ normalized }) => !normalized),
      (text) => text,
    );
    this.#normalized = new AddedTokenFinder(
      added.filter(({ normalized }) => normalized),
      whole,
    );
    const kept = [...stages];
    for (;;) {
      const last = kept[kept.length - 1];
      if (last?.kind !== "change" || !last.isPure) break;
      const { change } = last;
      this.#changes.unshift((piece) => change(piece, false));
      kept.pop();
    }
    this.#stages = kept;
  }

  /** Encodes a text; `encoding` says after each step how far it is. */
  *encode(text: string, encoding: Encoding): Generator<undefined, void, void> {
    for (const stretch of this.#plain.split(text)) {
      if (!stretch) {
        yield;
        continue;
      }
      if (stretch.token) encoding.ids.push(stretch.token.id);
      else yield* this.#stretch(text, stretch, encoding);
      encoding.done = stretch.end;
    }
  }

  *#stretch(text: string, { start, end }: Stretch, encoding: Encoding) {
    const normalized = yield* this.#normalize(text.slice(start, end));
    for (const part of this.#normalized.split(normalized)) {
      if (!part) {
        yield;
        continue;
      }
      if (part.token) {
        encoding.ids.push(part.token.id);
        continue;
      }
      const piece = normalized.slice(part.start, part.end);
      const isFirst = start === 0 && part.start === 0;
      const share = (end - start) / normalized.length;
      yield* this.#piece(0, piece, isFirst, encoding.ids, (done) => {
        encoding.done = start + Math.floor((part.start + done) * share);
      });
    }
  }

  *#normalize(text: string): Generator<undefined, string, void> {
    let changed = text;
    for (const { change, isLocal = false } of this.normalizers) {
      if (!isLocal || changed.length <= STRETCH) {
        changed = change(changed);
        continue;
      }
      const parts: string[] = [];
      for (let start = 0; start < changed.length; ) {
        let end = Math.min(start + STRETCH, changed.length);
        while (end < changed.length && !isAsciiLetter(changed.charCodeAt(end))) end++;
        parts.push(change(changed.slice(start, end)));
        start = end;
        yield;
      }
      changed = parts.join("");
    }
    return changed;
  }

  /** Takes a piece through the stages from `stage` on; large ones in steps. */
  *#piece(
    stage: number,
    piece: string,
    isFirst: boolean,
    ids: number[],
    report?: (done: number) => void,
  ): Generator<undefined, void, void> {
    if (piece.length <= SMALL) {
      this.#small(stage, piece, isFirst, ids);
      return;
    }
    const now = this.#stages[stage];
    if (!now) {
      yield* this.model.encode(this.#changed(piece), ids);
      return;
    }
    if (now.kind === "change") {
      const changed = now.change(piece, isFirst);
      yield* this.#piece(stage + 1, changed, isFirst, ids, report);
      return;
    }
    const splitting = new Splitting(piece, now.rule);
    for (let more = true; more; ) {
      const bounds: number[] = [];
      more = splitting.more(bounds, BATCH);
      for (let i = 0; i < bounds.length; i += 2) {
        const [start, end] = [bounds[i], bounds[i + 1]];
        yield* this.#piece(stage + 1, piece.slice(start, end), isFirst && start === 0, ids);
      }
      report?.(bounds[bounds.length - 1] ?? 0);
      yield;
    }
  }

  /** The same in one go. */
  #small(stage: number, piece: string, isFirst: boolean, ids: number[]): void {
    const now = this.#stages[stage];
    if (!now) {
      this.#word(piece, ids);
      return;
    }
    if (now.kind === "change") {
      const changed = now.change(piece, isFirst);
      if (changed !== "") this.#small(stage + 1, changed, isFirst, ids);
      return;
    }
    const bounds: number[] = [];
    new Splitting(piece, now.rule).more(bounds, Number.POSITIVE_INFINITY);
    for (let i = 0; i < bounds.length; i += 2) {
      const part = piece.slice(bounds[i], bounds[i + 1]);
      this.#small(stage + 1, part, isFirst && bounds[i] === 0, ids);
    }
  }

  #changed(piece: string): string {
    return this.#changes.reduce((changed, change) => change(changed), piece);
  }

  #word(piece: string, ids: number[]): void {
    let found = this.#words.get(piece);
    if (!found) {
      const made: number[] = [];
      for (const _ of this.model.encode(this.#changed(piece), made));
      if (piece.length <= LONGEST_REMEMBERED) {
        if (this.#words.size >= REMEMBERED) this.#words.clear();
        this.#words.set(piece, made);
      }
      found = made;
    }
    for (let i = 0; i < found.length; i++) ids.push(found[i]);
  }
}

function isAsciiLetter(code: number): boolean {
  return (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
}
