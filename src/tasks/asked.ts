/** What models are asked of the items of tasks, as tokens. */
import { type Checkpoint, openCheckpoint } from "../checkpoint/checkpoint.js";
import { withTokenizer } from "../checkpoint/overlay.js";
import { loadTokenizer, type Tokenizer } from "../checkpoint/tokenizer.js";
import { PenjingError } from "../errors.js";
import { type BosMode, requireBos } from "../models/bos.js";
import { type RunningModel, refuseForeignIds, runningModel } from "../models/open.js";
import { pacer } from "../run.js";
import type { Asked } from "./answers.js";
import { tokensOf } from "./batch.js";
import type { EvaluateTasksOptions } from "./options.js";
import { type ChoiceRequest, type RequestOptions, requestOf } from "./requests.js";

/** A task with its rows. */
export type ReadTask = Pick<Asked, "task" | "items">;

/** Tokens of the longest request that go through the model. */
export function longestOf(asked: readonly Asked[]): number {
  return asked
    .flatMap(({ requests }) => requests.flat())
    .reduce((most, one) => Math.max(most, tokensOf(one)), 0);
}

/** Why a model that was opened for shorter runs is refused. */
export function tooLong({ decoder }: RunningModel, longest: number): PenjingError {
  return new PenjingError(
    "model",
    `a request has ${longest} tokens, but the model was opened for runs of ${decoder.maxTokens}; open it with maxTokens ${longest}.`,
  );
}

/** The token that contexts begin with, if any. */
function beginning(model: RunningModel, mode: BosMode = "auto"): number | undefined {
  if (mode === "never") return undefined;
  if (mode === "always" || model.spec.needsBos) return requireBos(model);
  const id = model.tokenizer.bosId ?? model.spec.bosIds[0];
  const [added] = model.tokenizer.encode("", { addSpecialTokens: true });
  return id !== undefined && added === id ? id : undefined;
}

function requestOptions(model: RunningModel, bos: BosMode | undefined): RequestOptions {
  const { spec, tokenizer } = model;
  const emptyId = tokenizer.bosId ?? spec.bosIds[0] ?? tokenizer.eosIds[0] ?? spec.eosIds[0];
  return { bosId: beginning(model, bos), emptyId, most: spec.context };
}

/**
 * What a model is asked.
 *
 * @throws PenjingError when its tokenizer gives tokens that it does not have
 */
export async function askedOf(
  model: RunningModel,
  read: readonly ReadTask[],
  { bos, signal }: EvaluateTasksOptions,
): Promise<Asked[]> {
  const { spec, tokenizer } = model;
  const asked = await requestsOf(tokenizer, read, requestOptions(model, bos), signal);
  for (const { ids } of asked.flatMap(({ requests }) => requests.flat())) {
    refuseForeignIds(ids, spec);
  }
  return asked;
}

async function requestsOf(
  tokenizer: Pick<Tokenizer, "encode">,
  read: readonly ReadTask[],
  options: RequestOptions,
  signal: AbortSignal | undefined,
): Promise<Asked[]> {
  const rest = pacer(signal);
  const asked: Asked[] = [];
  for (const { task, items } of read) {
    const requests: ChoiceRequest[][] = [];
    for (const { choices } of items) {
      await rest();
      requests.push(choices.map((choice) => requestOf(tokenizer, choice, options)));
    }
    asked.push({ task, items, requests });
  }
  return asked;
}

/** @throws PenjingError when the other model reads the tasks as other tokens */
export async function refuseOther(
  asked: readonly Asked[],
  { against, tokenizer, signal, bos }: EvaluateTasksOptions,
  model: RunningModel,
): Promise<void> {
  const running = runningModel(against);
  if (running === model) {
    throw new PenjingError(
      "against",
      `${model.path} is the very model that is asked; give the model that it was made from.`,
    );
  }
  const other = running ?? (await openTokenizer(against as string | Checkpoint, tokenizer, signal));
  const others = await requestsOf(other.tokenizer, asked, requestOptions(model, bos), signal);
  const isSame = asked.every(({ requests }, t) =>
    requests.every((choices, i) =>
      choices.every(({ ids, first }, c) => {
        const { ids: theirs, first: start } = others[t].requests[i][c];
        return (
          first === start && ids.length === theirs.length && ids.every((id, j) => id === theirs[j])
        );
      }),
    ),
  );
  if (isSame) return;
  throw new PenjingError(
    "against",
    `${other.path} has another tokenizer, which cuts the tasks into other tokens; give the model that ${model.path} was made from.`,
  );
}

/** The tokenizer of a model, which is not loaded for it. */
async function openTokenizer(
  source: string | Checkpoint,
  given: EvaluateTasksOptions["tokenizer"],
  signal: AbortSignal | undefined,
): Promise<{ readonly path: string; readonly tokenizer: Tokenizer }> {
  const opened = typeof source === "string" ? await openCheckpoint(source, { signal }) : source;
  try {
    const { folder } = await withTokenizer(opened, given);
    return { path: folder.path, tokenizer: await loadTokenizer(folder, { signal }) };
  } finally {
    if (typeof source === "string") await opened.close();
  }
}
