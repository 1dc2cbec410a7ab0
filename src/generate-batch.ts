import { type Argument, type Arguments, checkArguments, NUMBER, required } from "./arguments.js";
import type { ChatMessage } from "./checkpoint/chat-template.js";
import { PenjingError } from "./errors.js";
import { Continuation, type GeneratedText } from "./generate/continuation.js";
import { generateTexts, type HowGenerated, howGenerated, type Note } from "./generate/texts.js";
import {
  checkCounts,
  GENERATE_ARGUMENTS,
  type GenerateOptions,
  isConversation,
  MOST_NEW,
} from "./generate.js";
import { promptIdsOf } from "./models/prompt-ids.js";
import { quote } from "./quote.js";
import { Run } from "./run.js";
import { checkSampling } from "./sample.js";

/** Texts that are generated together, unless asked otherwise. */
const TOGETHER = 8;

export interface GenerateBatchOptions extends Omit<GenerateOptions, "prompt" | "messages"> {
  /** Texts to continue, and conversations to answer, as a dataset's `documents` are. */
  readonly prompts: readonly (string | readonly ChatMessage[])[];
  /**
   * Most prompts that are generated together: the next takes the place of one that ends. Each takes a key-value
   * cache, and all together read the weights once for a token of each.
   *
   * @default 8
   */
  readonly batch?: number | undefined;
  /** Seed of the first prompt's draws when temperature is above 0; each next prompt has the next seed. @default 0 */
  readonly seed?: number | undefined;
}

export type GenerateBatchEvent =
  | {
      readonly type: "token";
      /** Of the prompt, from 0. */
      readonly index: number;
      readonly id: number;
      /** What this token adds to the prompt's text; the bytes of a character come together, or at the end. */
      readonly text: string;
    }
  /** A text that came to its end. */
  | ({ readonly type: "generated"; readonly index: number } & GeneratedText)
  | Note;

export interface BatchGeneration extends HowGenerated {
  /** In the order of the prompts. */
  readonly texts: readonly GeneratedText[];
}

const PROMPTS: Argument = {
  what: "a list of prompts, each a text or a list of messages with a role and a content",
  fits: (value) =>
    Array.isArray(value) && value.every((one) => typeof one === "string" || isConversation(one)),
};

const { prompt: _, messages: __, ...SHARED } = GENERATE_ARGUMENTS;
const ARGUMENTS: Arguments<GenerateBatchOptions> = {
  ...SHARED,
  prompts: required(PROMPTS),
  batch: NUMBER,
};

/**
 * Continues several texts, or answers several conversations, together. Each comes out as by `generate` with its
 * seed: to the bit where activations are rounded to int8; of floats, a product of several tokens may be rounded
 * otherwise than that of one.
 *
 * @throws PenjingError (from the iteration or `result()`) as `generate` does, naming the prompt; also for an
 *   empty list
 */
export function generateBatch(
  options: GenerateBatchOptions,
): Run<GenerateBatchEvent, BatchGeneration> {
  return new Run(steps(options));
}

async function* steps(
  options: GenerateBatchOptions,
): AsyncGenerator<GenerateBatchEvent, BatchGeneration, void> {
  checkArguments("generateBatch", options, ARGUMENTS);
  checkPrompts(options);
  checkSampling(options);
  checkCounts(options);
  const { prompts, batch = TOGETHER, seed = 0, maxNewTokens = MOST_NEW } = options;
  const isAnswer = (index: number) => typeof prompts[index] !== "string";
  const indices = new Map<Continuation, number>();
  return yield* generateTexts<GenerateBatchEvent, BatchGeneration>(
    { ...options, maxNewTokens },
    {
      atOnce: Math.min(batch, prompts.length),
      // All are read before the first is run: one that is refused is so at once.
      begin: async (model) => {
        for (const [index, given] of prompts.entries()) {
          const one = typeof given === "string" ? { prompt: given } : { messages: given };
          const where = `prompt ${index + 1} of ${prompts.length}`;
          const ids = await promptIdsOf(model, { ...options, ...one, where });
          indices.set(new Continuation(model.tokenizer, ids, seed + index), index);
        }
        return [...indices.keys()];
      },
      *tell({ of, id, added: text }) {
        const index = indices.get(of)!;
        yield { type: "token", index, id, text };
        if (of.stoppedBy) yield { type: "generated", index, ...of.result(isAnswer(index)) };
      },
      end: (model, texts, clock) => {
        const tokens = texts.reduce((sum, { ids }) => sum + ids.length, 0);
        const results = texts.map((text, index) => text.result(isAnswer(index)));
        return { texts: results, ...howGenerated(model, tokens, clock) };
      },
    },
  );
}

/** @throws PenjingError for no prompts, a batch that is no number of them, and a BOS token before conversations */
function checkPrompts({ prompts, batch = TOGETHER, bos = "auto" }: GenerateBatchOptions): void {
  if (prompts.length === 0) {
    throw new PenjingError("prompts", "there are none; give at least one text or conversation.");
  }
  if (!Number.isSafeInteger(batch) || batch < 1) {
    throw new PenjingError("batch", `it is ${batch}, must be a whole number of at least 1.`);
  }
  const index = prompts.findIndex((one) => typeof one !== "string");
  if (index >= 0 && bos !== "auto") {
    throw new PenjingError(
      "bos",
      `it is ${quote(bos)}, but prompt ${index + 1} is a conversation, before which the chat template puts what belongs there; leave it out.`,
    );
  }
}
