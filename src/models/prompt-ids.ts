import { type ChatMessage, requireChatTemplate } from "../checkpoint/chat-template.js";
import { PenjingError } from "../errors.js";
import { type EncodeTextOptions, encodeText } from "../text.js";
import { type BosMode, requireBos } from "./bos.js";
import { type RunningModel, refuseForeignIds } from "./open.js";

/** What a generation begins with. */
export interface Prompt {
  readonly promptIds: Int32Array;
  /** The BOS token that was put in front, if one was. */
  readonly bosId: number | undefined;
}

/** One of prompt and messages is there. */
export interface PromptOptions {
  readonly prompt?: string | undefined;
  readonly messages?: readonly ChatMessage[] | undefined;
  readonly bos?: BosMode | undefined;
  /** What messages call it. @default "prompt", or "messages" */
  readonly where?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Ids that a generation begins with: those of a prompt, or of messages in the model's chat template.
 *
 * @throws PenjingError when they fill the context, or the model lacks what they need
 */
export async function promptIdsOf(model: RunningModel, options: PromptOptions): Promise<Prompt> {
  const { spec } = model;
  const { prompt, messages, where = messages ? "messages" : "prompt", signal } = options;
  const begun = messages
    ? await idsOfMessages(model, messages, signal)
    : await idsOfPrompt(model, { ...options, prompt: prompt! });
  const { length } = begun.promptIds;
  refuseForeignIds(begun.promptIds, spec);
  if (length === 0) {
    throw new PenjingError(
      where,
      "it is empty, and the model names no token to begin with; give some text.",
    );
  }
  if (length >= spec.context) {
    throw new PenjingError(
      where,
      `it has ${length} tokens, which fills the model's context of ${spec.context}; shorten it to at most ${spec.context - 1} tokens.`,
    );
  }
  return begun;
}

async function encodeWhole(
  { tokenizer }: RunningModel,
  text: string,
  options: EncodeTextOptions,
): Promise<Int32Array> {
  const steps = encodeText(tokenizer, text, options);
  let step = await steps.next();
  while (!step.done) step = await steps.next();
  return step.value;
}

/** Ids of a conversation. The chat template writes the special tokens, so none are added. */
async function idsOfMessages(
  model: RunningModel,
  messages: readonly ChatMessage[],
  signal: AbortSignal | undefined,
): Promise<Prompt> {
  const template = await requireChatTemplate(model.folder);
  const text = template.render(messages, { addGenerationPrompt: true });
  const promptIds = await encodeWhole(model, text, { signal });
  const start = model.tokenizer.bosId;
  return { promptIds, bosId: start === promptIds[0] ? start : undefined };
}

/** Ids of the prompt, or of the beginning of a text when the prompt is empty. */
async function idsOfPrompt(
  model: RunningModel,
  { prompt, bos = "auto", signal }: PromptOptions & { readonly prompt: string },
): Promise<Prompt> {
  const { spec, tokenizer } = model;
  const start = bos === "always" ? requireBos(model) : (tokenizer.bosId ?? spec.bosIds[0]);
  const addSpecialTokens = bos !== "never";
  const ids = await encodeWhole(model, prompt, { addSpecialTokens, signal });
  const around = tokenizer.encode("", { addSpecialTokens });
  const isAdded = start !== undefined && around[0] === start;
  const isWanted = bos === "always" || (bos === "auto" && ids.length === 0);
  if (!isWanted || start === undefined || ids[0] === start) {
    return { promptIds: ids, bosId: isAdded ? start : undefined };
  }
  const whole = new Int32Array(ids.length + 1);
  whole[0] = start;
  whole.set(ids, 1);
  return { promptIds: whole, bosId: start };
}
