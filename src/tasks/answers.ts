/** The answers of one model to the items of tasks. */
import { sha256 } from "../digest.js";
import { PenjingError } from "../errors.js";
import type { RunningModel } from "../models/open.js";
import { Asker, type Likelihood } from "./ask.js";
import { batchesOf, tokensOf } from "./batch.js";
import type { AnswerStore } from "./options.js";
import type { ChoiceRequest } from "./requests.js";
import type { Task, TaskItem } from "./task.js";

/** Tokens that go through the model together, unless one request has more: enough for full speed. */
const BATCH_TOKENS = 1024;

/** A task's items as a model is asked them. */
export interface Asked {
  readonly task: Task;
  readonly items: readonly TaskItem[];
  /** Of each item, one for each choice. */
  readonly requests: readonly (readonly ChoiceRequest[])[];
}

/** What is known so far; asking goes on from there. */
export interface Answers {
  /** Of each task, of each item, of each choice. */
  readonly likelihoods: (Likelihood | undefined)[][][];
  /** Tokens that went through the model. */
  tokens: number;
  /** Requests whose answers were kept from an earlier run. */
  known: number;
}

export function noAnswers(asked: readonly Asked[]): Answers {
  const likelihoods = asked.map(({ requests }) =>
    requests.map((choices) => choices.map(() => undefined)),
  );
  return { likelihoods, tokens: 0, known: 0 };
}

export interface AnswerOptions {
  readonly store?: AnswerStore | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A request that waits for its answer. */
interface Waiting extends ChoiceRequest {
  readonly item: number;
  readonly choice: number;
  readonly key: string | undefined;
}

/** Tokens that requests take where nothing is shared. */
export function tokensAlone(requests: readonly ChoiceRequest[]): number {
  return requests.reduce((sum, one) => sum + tokensOf(one), 0);
}

/**
 * Asks what has no answer yet, and yields the places of items, [task, item], as they are answered.
 *
 * @throws PenjingError when a log-likelihood is no number
 */
export async function* answerAll(
  model: RunningModel,
  asked: readonly Asked[],
  answers: Answers,
  { store, signal }: AnswerOptions,
): AsyncGenerator<readonly [task: number, item: number], void, void> {
  const most = Math.min(BATCH_TOKENS, model.decoder.maxTokens);
  const keyOf = store && (await keys(model));
  const asker = new Asker(model, most);
  try {
    for (const [t, { task, requests }] of asked.entries()) {
      const found = answers.likelihoods[t];
      const isWhole = (item: number) => found[item].every((one) => one !== undefined);
      const waiting: Waiting[] = [];
      for (const [item, choices] of requests.entries()) {
        if (isWhole(item)) continue;
        for (const [choice, request] of choices.entries()) {
          if (found[item][choice]) continue;
          const key = await keyOf?.(request);
          found[item][choice] = key === undefined ? undefined : await known(store!, key);
          if (found[item][choice]) answers.known++;
          else waiting.push({ ...request, item, choice, key });
        }
        if (isWhole(item)) yield [t, item];
      }
      for (const batch of batchesOf(waiting, most)) {
        const likelihoods = await asker.ask(batch, signal);
        answers.tokens += batch.tokens.length;
        const items = new Set<number>();
        for (const [i, { item, choice, key }] of batch.requests.entries()) {
          refuseOverflow(likelihoods[i], task, item);
          found[item][choice] = likelihoods[i];
          if (key !== undefined) await store?.set(key, likelihoods[i]);
          items.add(item);
        }
        for (const item of items) {
          if (!isWhole(item)) continue;
          yield [t, item];
          signal?.throwIfAborted();
        }
      }
    }
  } finally {
    asker.dispose();
  }
}

/** Names of requests for a store: what is asked, of which model, and how it computes. */
async function keys(model: RunningModel) {
  const { name, arithmetic } = model.backend;
  const rounded = model.decoder.roundsActivations ? ", int8 activations" : "";
  const subject = await sha256(`${await model.identity()} ${name} ${arithmetic}${rounded}`);
  return async ({ ids, first }: ChoiceRequest) =>
    `${subject.slice(0, 16)}/${(await sha256(`${first}:${ids}`)).slice(0, 32)}`;
}

/** @throws PenjingError when the store gives what is no answer */
async function known(store: AnswerStore, key: string): Promise<Likelihood | undefined> {
  const found: unknown = (await store.get(key)) ?? undefined;
  if (found === undefined) return undefined;
  const { sum, isGreedy } = found as Partial<Likelihood>;
  if (typeof sum === "number" && Number.isFinite(sum) && typeof isGreedy === "boolean") {
    return { sum, isGreedy };
  }
  throw new PenjingError(
    "answers",
    `what is kept of ${key} is no { sum, isGreedy }; give the store of an earlier run, or an empty one.`,
  );
}

/** @throws PenjingError when a sum is no number */
function refuseOverflow({ sum }: Likelihood, { name }: Task, item: number): void {
  if (Number.isFinite(sum)) return;
  throw new PenjingError(
    "model",
    `item ${item + 1} of ${name} has a log-likelihood that is not a number: its activations exceed float32; the checkpoint is damaged, fetch or compress it again.`,
  );
}
