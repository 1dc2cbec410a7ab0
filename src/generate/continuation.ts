import type { Tokenizer } from "../checkpoint/tokenizer.js";
import type { Prompt } from "../models/prompt-ids.js";
import { Random } from "../random.js";
import { TextStream } from "./text-stream.js";

/** Why nothing follows. */
export type StoppedBy = "end of text" | "length" | "context";

/** A text that was generated. */
export interface GeneratedText {
  /** The prompt and what was generated, without special tokens; of messages the answer alone. */
  readonly text: string;
  /** Ids of the prompt or the messages, with what was put around. */
  readonly promptIds: Int32Array;
  /** The BOS token that was put in front of the prompt; absent when none was. */
  readonly bosId?: number | undefined;
  /** Ids that were generated, an end-of-text token included. */
  readonly ids: Int32Array;
  readonly stoppedBy: StoppedBy;
}

/** How far a text is: all that it needs to go on, with another copy of the model too. */
export class Continuation {
  readonly ids: number[] = [];
  stoppedBy: StoppedBy | undefined;
  readonly random: Random;
  /** What was generated so far. */
  private answer = "";
  private readonly stream: TextStream;

  /** @param seed of its draws */
  constructor(
    private readonly tokenizer: Pick<Tokenizer, "decode">,
    readonly prompt: Prompt,
    seed: number,
  ) {
    this.stream = new TextStream(tokenizer, prompt.promptIds);
    this.random = new Random(seed);
  }

  /** Ids of the prompt and of what was generated. */
  get seen(): Int32Array {
    return Int32Array.from([...this.prompt.promptIds, ...this.ids]);
  }

  /**
   * Takes the next token.
   *
   * @param stoppedBy why it is the last, if it is
   * @returns what it adds to the text
   */
  add(id: number, stoppedBy: StoppedBy | undefined): string {
    this.ids.push(id);
    this.stoppedBy = stoppedBy;
    const added = this.stream.add(id) + (stoppedBy ? this.stream.end() : "");
    this.answer += added;
    return added;
  }

  /** @param isAnswer whether the text is what was generated alone */
  result(isAnswer: boolean): GeneratedText {
    const { promptIds, bosId } = this.prompt;
    const { ids, answer } = this;
    const whole = () => this.tokenizer.decode([...promptIds, ...ids], { skipSpecialTokens: true });
    return {
      text: isAnswer ? answer : whole(),
      promptIds,
      ...(bosId !== undefined && { bosId }),
      ids: Int32Array.from(ids),
      stoppedBy: this.stoppedBy ?? "length",
    };
  }
}
