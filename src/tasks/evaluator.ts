import {
  ANY,
  type Arguments,
  BYTES,
  checkArguments,
  FOLDER,
  MAPPING,
  NUMBER,
  SIGNAL,
} from "../arguments.js";
import { BACKEND_ARGUMENTS } from "../backends/lease.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { lookUp, PenjingError } from "../errors.js";
import {
  ACTIVATIONS,
  activationsOf,
  checkActivations,
  type RoundedActivations,
} from "../models/activations.js";
import { BOS } from "../models/bos.js";
import { MODEL, openingNotes, openRunning, runningModel, SECOND_MODEL } from "../models/open.js";
import { openFolder } from "../platform/files.js";
import { type Answers, type Asked, answerAll, noAnswers, tokensAlone } from "./answers.js";
import type { Likelihood } from "./ask.js";
import { askedOf, longestOf, type ReadTask, refuseOther, tooLong } from "./asked.js";
import { TASKS } from "./builtin.js";
import { accuraciesOf, flipsOf, isRight, perplexityOf } from "./figures.js";
import type { EvaluateTasksEvent, EvaluateTasksOptions, TaskScore, TaskScores } from "./options.js";
import { FILE_OR_BLOB, openTaskFile, readItems, readKnown } from "./read.js";
import type { TaskItem } from "./task.js";

const ARGUMENTS: Arguments<EvaluateTasksOptions> = {
  model: MODEL,
  tasks: {
    what: `a list of tasks: ${Object.keys(TASKS).join(", ")}, or definitions of one's own`,
    fits: (value) =>
      Array.isArray(value) &&
      value.length > 0 &&
      value.every((one) => typeof one === "string" || MAPPING.fits(one)),
  },
  data: FOLDER,
  files: {
    what: "an object with the files of tasks: paths, Files or open files",
    fits: (value) => MAPPING.fits(value) && Object.values(value as object).every(FILE_OR_BLOB.fits),
  },
  limit: NUMBER,
  against: SECOND_MODEL,
  bos: BOS,
  answers: {
    what: "a Map, or an object with get and set",
    fits: (value) =>
      MAPPING.fits(value) &&
      ["get", "set"].every((name) => typeof (value as never)[name] === "function"),
  },
  maxMemory: BYTES,
  activations: ACTIVATIONS,
  plugins: ANY,
  tokenizer: FOLDER,
  ...BACKEND_ARGUMENTS,
  signal: SIGNAL,
};

/** What `evaluateTasks` does, step by step. */
export async function* taskSteps(
  options: EvaluateTasksOptions,
): AsyncGenerator<EvaluateTasksEvent, TaskScores, void> {
  const started = performance.now();
  checkArguments("evaluateTasks", options, ARGUMENTS);
  const { model, against, limit } = options;
  checkActivations(options.activations, runningModel(model));
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit >= 1)) {
    throw new PenjingError("limit", `it is ${limit}, must be a whole number of at least 1.`);
  }
  const read = await readTasks(options);
  const passes = against === undefined ? 1 : 2;
  const own = yield* answersOf(model, options, { read, pass: 0, passes });
  const other =
    against === undefined
      ? undefined
      : yield* answersOf(against, options, { read, pass: 1, passes });
  const scores = own.asked.map((one, i) => scoreOf(one, own.likelihoods[i], other?.likelihoods[i]));
  const mean = (of: (one: TaskScore) => number) =>
    scores.reduce((sum, one) => sum + of(one), 0) / scores.length;
  return {
    tasks: scores,
    mean: mean(({ accuracies, metric }) => accuracies[metric]!.value),
    ...(other && {
      meanAgainst: mean(({ against, metric }) => against!.accuracies[metric]!.value),
    }),
    tokens: own.tokens,
    tokensAlone: tokensAlone(own.asked.flatMap(({ requests }) => requests.flat())),
    known: own.known,
    backend: own.backend,
    ...own.rounded,
    served: own.served,
    seconds: (performance.now() - started) / 1000,
  };
}

/** The tasks with their rows. */
async function readTasks({
  tasks = Object.keys(TASKS),
  data,
  files = {},
  limit,
  signal,
}: EvaluateTasksOptions): Promise<ReadTask[]> {
  const folder = typeof data === "string" ? await openFolder(data) : data;
  const chosen = new Map<string, () => Promise<ReadTask>>();
  for (const given of tasks) {
    const definition = typeof given === "string" ? undefined : given;
    const named = definition ? undefined : lookUp(TASKS, given as string, "tasks");
    const task = named ?? (await import("./definition.js")).ownTask(definition!);
    const { name } = task;
    if (chosen.has(name) && definition) {
      throw new PenjingError("tasks", `two of them are called ${name}; rename one of them.`);
    }
    const source = Object.hasOwn(files, name) ? files[name] : definition?.data;
    chosen.set(name, async () => ({ task, items: await itemsOf(source) }));
    const itemsOf = async (file: typeof source): Promise<TaskItem[]> => {
      if (file !== undefined) {
        const opened = await openTaskFile(file);
        return readItems(task, opened, { limit, signal }).finally(() => opened.close());
      }
      if (folder) return readKnown(named!, folder, { limit, signal });
      throw new PenjingError(
        "data",
        `nothing says where the rows of ${name} are; give a folder of the tasks' JSON Lines or Parquet, or the file in \`files\`.`,
      );
    };
  }
  const unknown = Object.keys(files).find((name) => !chosen.has(name));
  if (unknown !== undefined) {
    throw new PenjingError("files", `${unknown} is none of the tasks; leave its file out.`);
  }
  const read: ReadTask[] = [];
  for (const items of chosen.values()) read.push(await items());
  return read;
}

interface Pass {
  readonly read: readonly ReadTask[];
  /** Which model of how many it is. */
  readonly pass: number;
  readonly passes: number;
}

/** What one model answered. */
interface Answered {
  readonly asked: readonly Asked[];
  /** Of each task, of each item. */
  readonly likelihoods: readonly (readonly (readonly Likelihood[])[])[];
  readonly tokens: number;
  readonly known: number;
  readonly backend: string;
  readonly rounded: RoundedActivations;
  readonly served: TaskScores["served"];
}

/** Opens a model, asks it everything, and closes it unless it was open. */
async function* answersOf(
  source: EvaluateTasksOptions["model"],
  options: EvaluateTasksOptions,
  { read, pass, passes }: Pass,
): AsyncGenerator<EvaluateTasksEvent, Answered, void> {
  const { signal, answers: store } = options;
  const running = runningModel(source);
  const open = (maxTokens?: number) =>
    openRunning(source as string | Checkpoint, {
      ...options,
      maxTokens,
      activations: pass === 0 ? options.activations : "float",
    });
  let own = running ? undefined : await open();
  try {
    yield* openingNotes(own ?? running!);
    const asked = await askedOf(own ?? running!, read, options);
    if (pass === 0 && options.against !== undefined) {
      await refuseOther(asked, options, own ?? running!);
    }
    const longest = longestOf(asked);
    if (longest > (own ?? running!).decoder.maxTokens) {
      if (!own) throw tooLong(running!, longest);
      await own.close();
      own = undefined;
      own = await open(longest);
    }
    const answers = noAnswers(asked);
    for (;;) {
      try {
        const places = answerAll(own ?? running!, asked, answers, { store, signal });
        for await (const event of told(places, asked, answers)) {
          yield { ...event, against: pass > 0, fraction: (pass + event.fraction) / passes };
        }
        break;
      } catch (error) {
        if (!own) throw error;
        own = await own.moveAfter(error);
        yield { type: "note", where: "backend", message: own.notes[own.notes.length - 1] };
      }
    }
    const { backendName: backend, decoder, served } = own ?? running!;
    const rounded = activationsOf(decoder);
    const likelihoods = answers.likelihoods as Answered["likelihoods"];
    const { tokens, known } = answers;
    return { asked, likelihoods, tokens, known, backend, rounded, served: served() };
  } finally {
    await own?.close();
  }
}

/** How far the answers are. */
async function* told(
  places: AsyncIterable<readonly [task: number, item: number]>,
  asked: readonly Asked[],
  { likelihoods }: Answers,
) {
  const whole = tokensAlone(asked.flatMap(({ requests }) => requests.flat()));
  const counts = asked.map(() => ({ done: 0, right: 0 }));
  let spent = 0;
  const count = (t: number, i: number) => {
    const { task, items, requests } = asked[t];
    counts[t].done++;
    counts[t].right += Number(isRight(items[i], likelihoods[t][i] as Likelihood[], task.metric));
    spent += tokensAlone(requests[i]);
  };
  // Those of a run before its backend failed.
  for (const [t, one] of likelihoods.entries()) {
    for (const [i, answer] of one.entries()) if (answer.every(Boolean)) count(t, i);
  }
  for await (const [t, i] of places) {
    count(t, i);
    const { task, items } = asked[t];
    const { done, right } = counts[t];
    const place = { task: task.name, done, items: items.length };
    yield { type: "progress" as const, ...place, fraction: spent / whole, accuracy: right / done };
  }
}

function scoreOf(
  { task, items, requests }: Asked,
  likelihoods: readonly (readonly Likelihood[])[],
  other: readonly (readonly Likelihood[])[] | undefined,
): TaskScore {
  const figures = (of: typeof likelihoods) => {
    const perplexity = perplexityOf(items, of);
    return {
      accuracies: accuraciesOf(task, items, of),
      ...(perplexity !== undefined && { perplexity }),
    };
  };
  const right = (of: typeof likelihoods) =>
    items.map((item, i) => isRight(item, of[i], task.metric));
  return {
    task: task.name,
    items: items.length,
    metric: task.metric,
    ...figures(likelihoods),
    logLikelihoods: likelihoods.map((one) => one.map(({ sum }) => sum)),
    gold: items.map(({ gold }) => gold),
    cut: requests.flat().filter(({ cut }) => cut > 0).length,
    ...(other && { against: { ...figures(other), ...flipsOf(right(likelihoods), right(other)) } }),
  };
}
