/** The answers of one model to the items of tasks. */
import { sha256 } from "../digest.js";
import { PenjingError } from "../errors.js";
import type { RunningModel } from "../models/open.js";
import { Asker, type Likelihood } from "./ask.js";
import { batchOf, type Group, groupsOf } from "./batch.js";
import type { AnswerStore } from "./options.js";
import type { ChoiceRequest } from "./requests.js";
import type { Task, TaskItem } from "./task.js";

/** Tokens that go through the model together, unless one item has more: enough for its kernels' full speed. */
const BATCH_TOKENS = 512;

/** A task's items as a model is asked them. */
export interface Asked {
  readonly task: Task;
  readonly items: readonly TaskItem[];
  /** Of each item, one for each choice. */
  readonly requests: readonly (readonly ChoiceRequest[])[];
}

/** What is known so far; asking goes on from there. */
export interface Answers {
  /** Of each task, of each item. */
  readonly likelihoods: (readonly Likelihood[] | undefined)[][];
  /** Tokens that went through the model. */
  tokens: number;
  /** Items whose answers were kept from an earlier run. */
  known: number;
}

export function noAnswers(asked: readonly Asked[]): Answers {
  return { likelihoods: asked.map(({ items }) => items.map(() => undefined)), tokens: 0, known: 0 };
}

export interface AnswerOptions {
  readonly store?: AnswerStore | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One item that waits for its answer. */
interface Waiting {
  readonly task: number;
  readonly item: number;
  readonly key: string | undefined;
  readonly found: Likelihood[];
}

/** A group and whose it is. */
interface Queued {
  readonly group: Group;
  readonly of: Waiting;
}

/** Tokens that requests take where nothing is shared. */
export function tokensAlone(requests: readonly ChoiceRequest[]): number {
  return requests.reduce((sum, { ids }) => sum + ids.length - 1, 0);
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
  const { maxTokens } = model.decoder;
  const most = Math.min(BATCH_TOKENS, maxTokens);
  const keyOf = store && (await keys(model));
  const asker = new Asker(model, most);
  let queue: Queued[] = [];
  let tokens = 0;
  async function* flush() {
    const found = await asker.ask(batchOf(queue.map(({ group }) => group)), signal);
    answers.tokens += tokens;
    let next = 0;
    const whole: Waiting[] = [];
    for (const { group, of } of queue) {
      const count = group.requests.length;
      of.found.push(...found.slice(next, next + count));
      next += count;
      const { task, item, key } = of;
      if (of.found.length < asked[task].items[item].choices.length) continue;
      refuseOverflow(of.found, asked[task].task, item);
      answers.likelihoods[task][item] = of.found;
      if (key !== undefined) await store?.set(key, of.found);
      whole.push(of);
    }
    queue = [];
    tokens = 0;
    for (const { task, item } of whole) {
      yield [task, item] as const;
      signal?.throwIfAborted();
    }
  }
  try {
    for (const [task, { requests }] of asked.entries()) {
      for (const [item, choices] of requests.entries()) {
        if (answers.likelihoods[task][item]) continue;
        const key = await keyOf?.(choices);
        const known = key === undefined ? undefined : store?.get(key);
        if (known?.length === choices.length) {
          answers.likelihoods[task][item] = known;
          answers.known++;
          yield [task, item];
          continue;
        }
        const of = { task, item, key, found: [] };
        for (const group of groupsOf(choices, maxTokens)) {
          if (tokens + group.tokens > most && queue.length > 0) yield* flush();
          queue.push({ group, of });
          tokens += group.tokens;
        }
      }
    }
    if (queue.length > 0) yield* flush();
  } finally {
    asker.dispose();
  }
}

/** Names of items for a store: what is asked, of which model, and how it computes. */
async function keys(model: RunningModel) {
  const { name, arithmetic } = model.backend;
  const subject = await sha256(`${await model.identity()} ${name} ${arithmetic}`);
  return async (requests: readonly ChoiceRequest[]) => {
    const said = requests.map(({ ids, first }) => `${first}:${ids}`).join(";");
    return `${subject.slice(0, 16)}/${(await sha256(said)).slice(0, 32)}`;
  };
}

/** @throws PenjingError when a sum is no number */
function refuseOverflow(likelihoods: readonly Likelihood[], { name }: Task, item: number): void {
  if (likelihoods.every(({ sum }) => Number.isFinite(sum))) return;
  throw new PenjingError(
    "model",
    `item ${item + 1} of ${name} has a log-likelihood that is not a number: its activations exceed float32; the checkpoint is damaged, fetch or compress it again.`,
  );
}
