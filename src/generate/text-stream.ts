import type { Tokenizer } from "../checkpoint/tokenizer.js";

/** Tokens that are decoded together with a new one, for tokenizers that look at neighbours. */
const NEIGHBOURS = 8;

/** What each token adds to a text, without decoding the whole text anew for each. */
export class TextStream {
  private readonly ids: number[];
  /** The first id that is decoded together with the next one. */
  private first = 0;
  /** What is decoded from there and was given out. */
  private shown = "";

  constructor(
    private readonly tokenizer: Pick<Tokenizer, "decode">,
    prompt: Int32Array,
  ) {
    this.ids = Array.from(prompt);
    this.moveOn();
  }

  private decode(): string {
    return this.tokenizer.decode(this.ids.slice(this.first), { skipSpecialTokens: true });
  }

  /** Leaves out what no new token can change. */
  private moveOn(): void {
    this.first = Math.max(this.first, this.ids.length - NEIGHBOURS);
    this.shown = settled(this.decode());
  }

  add(id: number): string {
    this.ids.push(id);
    const added = settled(this.decode()).slice(this.shown.length);
    this.moveOn();
    return added;
  }

  /** What was held back although nothing follows. */
  end(): string {
    return this.decode().slice(this.shown.length);
  }
}

/**
 * A text without a replacement character at its end: that may stand for a character whose bytes are
 * not all there yet, which are always one replacement character together.
 */
function settled(text: string): string {
  return text.endsWith("\uFFFD") ? text.slice(0, -1) : text;
}
