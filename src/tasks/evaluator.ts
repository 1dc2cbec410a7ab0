import {
  ANY,
  type Arguments,
  checkArguments,
  FOLDER,
  NUMBER,
  required,
  SIGNAL,
} from "../arguments.js";
import { BACKEND_ARGUMENTS } from "../backends/lease.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { lookUp, PenjingError } from "../errors.js";
import { BOS, type BosMode, requireBos } from "../models/bos.js";
import {
  MODEL,
  openingNotes,
  openRunning,
  type RunningModel,
  refuseForeignIds,
  runningModel,
} from "../models/open.js";
import { openFolder } from "../platform/files.js";
import { pacer } from "../run.js";
import { Asker } from "./ask.js";
import { TASKS } from "./builtin.js";
import { accuraciesOf, answerOf } from "./figures.js";
import type { EvaluateTasksEvent, EvaluateTasksOptions, TaskScore, TaskScores } from "./options.js";
import { readTask } from "./read.js";
import { type ChoiceRequest, requestOf } from "./requests.js";
import type { Task, TaskItem } from "./task.js";

const ARGUMENTS: Arguments<EvaluateTasksOptions> = {
  model: MODEL,
  tasks: {
    what: `a list of tasks: ${Object.keys(TASKS).join(", ")}`,
    fits: (value) => Array.isArray(value) && value.length > 0,
  },
  data: required(FOLDER),
  limit: NUMBER,
  bos: BOS,
  plugins: ANY,
  tokenizer: FOLDER,
  ...BACKEND_ARGUMENTS,
  signal: SIGNAL,
};

/** A task's items as the model is asked them. */
interface Asked {
  readonly task: Task;
  readonly items: readonly TaskItem[];
  readonly requests: readonly (readonly ChoiceRequest[])[];
}

/** What `evaluateTasks` does, step by step. */
export async function* taskSteps(
  options: EvaluateTasksOptions,
): AsyncGenerator<EvaluateTasksEvent, TaskScores, void> {
  const started = performance.now();
  checkArguments("evaluateTasks", options, ARGUMENTS);
  const { model: source, tasks = Object.keys(TASKS), limit, signal } = options;
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit >= 1)) {
    throw new PenjingError("limit", `it is ${limit}, must be a whole number of at least 1.`);
  }
  const chosen = [...new Set(tasks)].map((name) => lookUp(TASKS, name, "tasks"));
  const folder = typeof options.data === "string" ? await openFolder(options.data) : options.data;
  const read: { task: Task; items: TaskItem[] }[] = [];
  for (const task of chosen)
    read.push({ task, items: await readTask(task, folder, limit, signal) });
  const running = runningModel(source);
  let own = running ? undefined : await openRunning(source as string | Checkpoint, options);
  const model = own ?? running!;
  try {
    yield* openingNotes(model);
    const asked = await askedOf(model, read, options);
    const answers = asked.map((): number[][] => []);
    const count = { tokens: 0 };
    for (;;) {
      try {
        yield* answerAll(own ?? model, asked, answers, count, signal);
        break;
      } catch (error) {
        if (!own) throw error;
        own = await own.moveAfter(error);
        yield { type: "note", where: "backend", message: own.notes[own.notes.length - 1] };
      }
    }
    const scores = asked.map((one, i) => scoreOf(one, answers[i]));
    const reported = scores.map(({ accuracies, metric }) => accuracies[metric]!.value);
    const last = own ?? model;
    return {
      tasks: scores,
      mean: reported.reduce((sum, one) => sum + one, 0) / reported.length,
      tokens: count.tokens,
      tokensAlone: tokensAlone(asked.flatMap(({ requests }) => requests.flat())),
      backend: last.backendName,
      served: last.served(),
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await own?.close();
  }
}

/** The token that contexts begin with, if any. */
function beginning(model: RunningModel, mode: BosMode = "auto"): number | undefined {
  if (mode === "never") return undefined;
  if (mode === "always" || model.spec.needsBos) return requireBos(model);
  const id = model.tokenizer.bosId ?? model.spec.bosIds[0];
  const [added] = model.tokenizer.encode("", { addSpecialTokens: true });
  return id !== undefined && added === id ? id : undefined;
}

async function askedOf(
  model: RunningModel,
  read: readonly Pick<Asked, "task" | "items">[],
  { bos, signal }: EvaluateTasksOptions,
): Promise<Asked[]> {
  const { spec, tokenizer } = model;
  const rest = pacer(signal);
  const emptyId = tokenizer.bosId ?? spec.bosIds[0] ?? tokenizer.eosIds[0] ?? spec.eosIds[0];
  const options = { bosId: beginning(model, bos), emptyId, most: spec.context };
  const asked: Asked[] = [];
  for (const { task, items } of read) {
    const requests: ChoiceRequest[][] = [];
    for (const { choices } of items) {
      await rest();
      const own = choices.map((choice) => requestOf(tokenizer, choice, options));
      for (const { ids } of own) refuseForeignIds(ids, spec);
      requests.push(own);
    }
    asked.push({ task, items, requests });
  }
  return asked;
}

/** Asks what has no answer yet. */
async function* answerAll(
  model: RunningModel,
  asked: readonly Asked[],
  answers: readonly number[][][],
  count: { tokens: number },
  signal: AbortSignal | undefined,
): AsyncGenerator<EvaluateTasksEvent, void, void> {
  const all = asked.flatMap(({ requests }) => requests.flat());
  const whole = tokensAlone(all);
  const longest = all.reduce((most, { ids }) => Math.max(most, ids.length), 0);
  const scored = all.reduce((most, { ids, first }) => Math.max(most, ids.length - first), 1);
  const asker = new Asker(model, longest, scored);
  let spent = 0;
  try {
    for (const [t, { task, items, requests }] of asked.entries()) {
      let right = 0;
      for (const [i, choices] of requests.entries()) {
        if (answers[t].length <= i) {
          const sums = await asker.ask(choices, signal);
          refuseOverflow(sums, task, i);
          answers[t].push(sums);
        }
        spent += tokensAlone(choices);
        right += Number(answerOf(items[i], answers[t][i], task.metric) === items[i].gold);
        const done = i + 1;
        const place = { task: task.name, done, items: items.length };
        yield { type: "progress", ...place, fraction: spent / whole, accuracy: right / done };
      }
    }
  } finally {
    count.tokens += asker.tokens;
    asker.dispose();
  }
}

/** @throws PenjingError when a sum is no number */
function refuseOverflow(sums: readonly number[], { name }: Task, i: number): void {
  if (sums.every(Number.isFinite)) return;
  throw new PenjingError(
    "model",
    `item ${i + 1} of ${name} has a log-likelihood that is not a number: its activations exceed float32; the checkpoint is damaged, fetch or compress it again.`,
  );
}

/** Tokens that requests take where nothing is shared. */
function tokensAlone(requests: readonly ChoiceRequest[]): number {
  return requests.reduce((sum, { ids }) => sum + ids.length - 1, 0);
}

function scoreOf({ task, items, requests }: Asked, logLikelihoods: number[][]): TaskScore {
  return {
    task: task.name,
    items: items.length,
    metric: task.metric,
    accuracies: accuraciesOf(task, items, logLikelihoods),
    logLikelihoods,
    gold: items.map(({ gold }) => gold),
    cut: requests.flat().filter(({ cut }) => cut > 0).length,
  };
}
