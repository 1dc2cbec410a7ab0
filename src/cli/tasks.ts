import { type EvaluateTasksOptions, evaluateTasks, type TaskScores } from "../evaluate-tasks.js";
import { VERSION } from "../version.js";
import { duration, openProgress, type PrintOptions, print, printJson, table } from "./console.js";
import { noteLine } from "./flags.js";

/** Answers the items of tasks while a progress bar runs. */
export async function scoreTasks(
  options: EvaluateTasksOptions,
  printing: PrintOptions,
): Promise<TaskScores> {
  const progress = openProgress("eval", printing);
  const work = evaluateTasks(options);
  try {
    for await (const event of work) {
      if (event.type === "note") {
        progress.line(noteLine(event));
        continue;
      }
      const { task, done, items, fraction, accuracy } = event;
      progress.update(fraction, `${task} ${done} of ${items}, ${accuracy.toFixed(3)} right`);
    }
  } finally {
    progress.stop();
  }
  return work.result();
}

/** Prints the scores for people. */
export function printTasks({ tasks, mean, seconds, backend, ...count }: TaskScores): void {
  const shown = (
    one: { readonly value: number; readonly stderr?: number | undefined } | undefined,
  ) =>
    one === undefined
      ? "-"
      : `${one.value.toFixed(4)}${one.stderr === undefined ? "" : ` ± ${one.stderr.toFixed(4)}`}`;
  const rows = tasks.map(({ task, items, metric, accuracies }) => [
    ...[task, String(items), metric],
    ...[shown(accuracies.acc), shown(accuracies.acc_norm), shown(accuracies.acc_bytes)],
  ]);
  print(table([["task", "items", "reported", "acc", "acc_norm", "acc_bytes"], ...rows]));
  print(`\nmean         ${mean.toFixed(4)} of what is reported`);
  for (const { task, cut } of tasks.filter(({ cut }) => cut > 0)) {
    print(`cut          ${cut} requests of ${task} lost their beginning: longer than the context`);
  }
  const share = (100 * count.tokens) / count.tokensAlone;
  print(`tokens       ${count.tokens}, ${share.toFixed(0)}% of those of each choice by itself`);
  print(`time         ${duration(seconds)} on ${backend}`);
}

/** Prints them as lm-evaluation-harness writes its results, with the log-likelihoods beside. */
export function printTasksJson(
  model: string,
  limit: number | undefined,
  { tasks, mean, seconds, backend, tokens, tokensAlone }: TaskScores,
): void {
  const by = <Value>(value: (one: TaskScores["tasks"][number]) => Value) =>
    Object.fromEntries(tasks.map((one) => [one.task, value(one)]));
  printJson({
    results: by(({ task, accuracies }) => ({
      alias: task,
      ...Object.fromEntries(
        Object.entries(accuracies).flatMap(([metric, { value, stderr }]) => [
          [`${metric},none`, value],
          [`${metric}_stderr,none`, stderr ?? "N/A"],
        ]),
      ),
    })),
    "n-shot": by(() => 0),
    "n-samples": by(({ items }) => ({ effective: items })),
    config: { model: "penjing", model_args: model, limit: limit ?? null, penjing: VERSION },
    reported: by(({ metric }) => metric),
    mean,
    logLikelihoods: by(({ logLikelihoods }) => logLikelihoods),
    gold: by(({ gold }) => gold),
    ...{ tokens, tokensAlone, backend, seconds },
  });
}
