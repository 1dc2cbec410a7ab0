/** Tasks that a caller defines. */
import {
  type Argument,
  type Arguments,
  checkArguments,
  MAPPING,
  required,
  TEXT,
} from "../arguments.js";
import { compileTemplate, type Render, type TemplateWords } from "../checkpoint/jinja.js";
import { isJsonObject } from "../checkpoint/json.js";
import type { DatasetRow } from "../datasets/document.js";
import { PenjingError } from "../errors.js";
import type { ByteSource } from "../platform/files.js";
import { quote } from "../quote.js";
import { TASKS } from "./builtin.js";
import { refuseCell, refuseLoneChoice, textsIn } from "./cells.js";
import { FILE_OR_BLOB } from "./read.js";
import type { Task, TaskChoice, TaskItem, TaskMetric } from "./task.js";

/**
 * A task of one's own. Templates are Jinja, in which the columns of a row stand by their names, and the
 * text of a choice as `choice`.
 */
export interface TaskDefinition {
  /** What results call it. */
  readonly task: string;
  /** The rows: a path (.jsonl, .jsonl.gz, .parquet, or .txt, each line of which is a `text`), a Blob, or an open file. */
  readonly data: string | Blob | ByteSource;
  /** Template of what is there before a continuation; "" for nothing. */
  readonly context: string;
  /**
   * Templates of the choices, or the column that holds a list of them, such as "endings" or "choices.text".
   *
   * @default there is no choice: the continuation is right where the model would have written it
   */
  readonly choices?: readonly string[] | string | undefined;
  /** Template of what is scored. @default "{{ choice }}" */
  readonly continuation?: string | undefined;
  /**
   * The right choice: its place from 0 on in all rows, or the column that holds its place, its label or its
   * text.
   */
  readonly gold?: number | string | undefined;
  /** What `gold` calls the choices, or the column that holds a list of that. @default their places */
  readonly labels?: readonly (string | number)[] | string | undefined;
  /** What is reported. @default "acc_norm" of choices whose texts are scored, else "acc" */
  readonly metric?: TaskMetric | undefined;
  /** What messages call it, such as the path of its file. @default "task NAME" */
  readonly where?: string | undefined;
}

const METRICS: readonly TaskMetric[] = ["acc", "acc_norm", "acc_bytes"];

/** A list of at least one, or a column with one. */
function listOf(what: string, ...types: readonly string[]): Argument {
  return {
    what: `a list of ${what}, or the name of a column`,
    fits: (value) =>
      typeof value === "string" ||
      (Array.isArray(value) &&
        value.length > 0 &&
        value.every((one) => types.includes(typeof one))),
  };
}

const ARGUMENTS: Arguments<TaskDefinition> = {
  task: required(TEXT, "a name for the results"),
  data: required(FILE_OR_BLOB),
  context: required(TEXT, 'a template such as "Question: {{ question }}\\nAnswer:"'),
  choices: listOf("texts", "string"),
  continuation: TEXT,
  gold: {
    what: "a place from 0 on, or the name of a column",
    fits: (value) => typeof value === "string" || (Number.isInteger(value) && Number(value) >= 0),
  },
  labels: listOf("labels", "string", "number"),
  where: TEXT,
  metric: { what: METRICS.join(", "), fits: (value) => METRICS.includes(value as TaskMetric) },
};

const WORDS: TemplateWords = {
  subject: "a template of the task",
  given: "this row",
  malformed: "mend the task's file",
  refused: "leave the row out",
  stopped: "make the template smaller",
  failed: "mend the template, or leave the row out",
  isStrict: true,
};

/** @throws PenjingError naming what is missing or wrong */
export function ownTask(definition: TaskDefinition): Task {
  const { where: said } = MAPPING.fits(definition) ? definition : {};
  const where = typeof said === "string" ? said : `task ${definition?.task}`;
  checkArguments(where, definition, ARGUMENTS);
  const { task: name, choices, gold, metric = "acc" } = definition;
  if (metric !== "acc" && (choices === undefined || definition.continuation !== undefined)) {
    throw new PenjingError(
      where,
      `metric is ${metric}, must be acc where the choices' own texts are not what is scored; leave it out.`,
    );
  }
  if (!/^[\w.-]+$/.test(name)) {
    throw new PenjingError(
      where,
      `task is ${quote(name)}, must be letters, digits, "_", "-" and "."; choose such a name.`,
    );
  }
  if (Object.hasOwn(TASKS, name)) {
    throw new PenjingError(
      where,
      `task is ${name}, which penjing has already; choose another name.`,
    );
  }
  const template = (text: string) => compileTemplate(text, where, WORDS);
  const given = definition.continuation;
  if (choices === undefined) {
    if (given === undefined) {
      throw new PenjingError(
        where,
        "it has neither choices nor a continuation; give choices with a gold, or one continuation.",
      );
    }
    const other = (["gold", "labels"] as const).find((key) => definition[key] !== undefined);
    if (other !== undefined) {
      throw new PenjingError(where, `${other} goes with choices; give choices or leave it out.`);
    }
    return writingTask(definition, template(definition.context), template(given));
  }
  if (gold === undefined) {
    throw new PenjingError(
      where,
      "gold is missing; give the column that says which choice is right.",
    );
  }
  if (Array.isArray(choices) && typeof gold === "number" && gold >= choices.length) {
    throw new PenjingError(
      where,
      `gold is ${gold}, must be the place of one of the ${choices.length} choices, from 0 on; mend it.`,
    );
  }
  return choiceTask(definition, {
    context: template(definition.context),
    continuation: template(given ?? "{{ choice }}"),
    choices: typeof choices === "string" ? choices : choices.map(template),
    ownTexts: given === undefined,
    gold,
  });
}

/** Whether the model would write what follows, as LAMBADA asks for a passage's last word. */
function writingTask(
  { task, context: given, metric }: TaskDefinition,
  context: Render,
  continuation: Render,
): Task {
  return {
    name: task,
    metric: metric ?? "acc",
    metrics: ["acc"],
    item(row) {
      const choice = choiceOf(row, given, context, continuation, {});
      return { choices: [choice], gold: 0 };
    },
  };
}

interface Templates {
  readonly context: Render;
  readonly continuation: Render;
  readonly choices: readonly Render[] | string;
  /** Whether the choices' own texts are what is scored. */
  readonly ownTexts: boolean;
  readonly gold: number | string;
}

function choiceTask(
  { task, context: given, labels, metric }: TaskDefinition,
  { context, continuation, choices, ownTexts, gold }: Templates,
): Task {
  const textsOf = (row: DatasetRow): string[] => {
    if (typeof choices === "string") return textsIn(row, choices, cellAt(row, choices));
    return choices.map((render) => rendered(row, render, {}));
  };
  return {
    name: task,
    metric: metric ?? (ownTexts ? "acc_norm" : "acc"),
    metrics: ownTexts ? METRICS : ["acc"],
    item(row): TaskItem {
      const texts = textsOf(row);
      if (texts.length < 2) refuseLoneChoice(row);
      const place = goldOf(row, texts, gold, labels);
      const made = texts.map((choice) => choiceOf(row, given, context, continuation, { choice }));
      const asked = made.map(({ context, continuation }) =>
        JSON.stringify([context, continuation]),
      );
      const same = asked.findIndex((one, i) => asked.indexOf(one) < i);
      if (same >= 0) {
        throw new PenjingError(
          row.where,
          `its choices ${asked.indexOf(asked[same]) + 1} and ${same + 1} are the same, so that none is the likelier; leave the row out.`,
        );
      }
      return { choices: made, gold: place };
    },
  };
}

/** What stands in a column, or below it, as in "choices.text". */
function cellAt({ cells }: DatasetRow, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>(
      (value, key) => (isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined),
      cells,
    );
}

function goldOf(
  row: DatasetRow,
  texts: readonly string[],
  gold: number | string,
  labels: TaskDefinition["labels"],
): number {
  const value = typeof gold === "number" ? gold : cellAt(row, gold);
  const column = typeof gold === "number" ? "gold" : gold;
  const named = typeof labels === "string" ? cellAt(row, labels) : labels;
  if (named !== undefined && !Array.isArray(named)) {
    refuseCell(row, String(labels), named, "a list of labels");
  }
  const place = placeOf(value, texts, named as readonly unknown[] | undefined);
  if (place >= 0 && place < texts.length) return place;
  const rule = named ? "one of the labels" : `the right one of the ${texts.length} choices`;
  return refuseCell(row, column, value, rule);
}

function placeOf(
  value: unknown,
  texts: readonly string[],
  labels: readonly unknown[] | undefined,
): number {
  if (labels) {
    const isLabel = typeof value === "string" || typeof value === "number";
    return isLabel ? labels.findIndex((label) => String(label) === String(value)) : -1;
  }
  if (Number.isInteger(value)) return value as number;
  if (typeof value !== "string") return -1;
  const named = texts.indexOf(value);
  return named < 0 && /^\d+$/.test(value.trim()) ? Number(value) : named;
}

function choiceOf(
  row: DatasetRow,
  given: string,
  context: Render,
  continuation: Render,
  more: Readonly<Record<string, unknown>>,
): TaskChoice {
  const made = {
    context: rendered(row, context, more),
    continuation: rendered(row, continuation, more),
  };
  const refuse = (what: string) => {
    throw new PenjingError(
      row.where,
      `its ${what} is empty; leave the row out, or mend the template.`,
    );
  };
  // One that is meant to be empty is: whole sentences are compared then.
  if (given !== "" && made.context.trim() === "") refuse("context");
  if (made.continuation.trim() === "") refuse("continuation");
  return { ...made, continuation: made.continuation.replace(/^ /, "") };
}

function rendered(
  { where, cells }: DatasetRow,
  render: Render,
  more: Readonly<Record<string, unknown>>,
): string {
  return render({ ...cells, ...more }, where);
}
