import {
  type EvaluateTasksOptions,
  evaluateTasks,
  type TaskScore,
  type TaskScores,
} from "../evaluate-tasks.js";
import { TASKS } from "../tasks/builtin.js";
import { VERSION } from "../version.js";
import { duration, openProgress, type PrintOptions, print, table, told } from "./console.js";
import { noteLine } from "./flags.js";

/** Answers the items of tasks while a progress bar runs. */
export async function scoreTasks(
  options: EvaluateTasksOptions,
  printing: PrintOptions,
): Promise<TaskScores> {
  const progress = openProgress("eval", printing);
  const work = evaluateTasks(options);
  try {
    for await (const event of told("eval", work, printing)) {
      if (event.type === "note") {
        progress.line(noteLine(event));
        continue;
      }
      const { task, against, done, items, fraction, accuracy } = event;
      const whose = against ? "the other model: " : "";
      progress.update(
        fraction,
        `${whose}${task} ${done} of ${items}, ${accuracy.toFixed(3)} right`,
      );
    }
  } finally {
    progress.stop();
  }
  return work.result();
}

/** Prints the scores for people. */
export function printTasks(
  { tasks, mean, meanAgainst, known, seconds, backend, activations, ...count }: TaskScores,
  against: string | undefined,
): void {
  print(table([["task", "items", "reported", "acc", "acc_norm", "acc_bytes"], ...tasks.map(row)]));
  print(`\nmean         ${mean.toFixed(4)} of what is reported`);
  for (const { task, perplexity } of tasks) {
    if (perplexity !== undefined) print(`perplexity   ${perplexity.toFixed(3)} of ${task}`);
  }
  for (const { task, cut } of tasks.filter(({ cut }) => cut > 0)) {
    print(`cut          ${cut} requests of ${task} lost their beginning: longer than the context`);
  }
  if (meanAgainst !== undefined) {
    print(`\nbeside       ${against}, whose mean is ${meanAgainst.toFixed(4)}`);
    const rows = tasks.map(({ task, items, metric, against }) => {
      const { accuracies, flips, gained, lost, pValue } = against!;
      const share = `${((100 * flips) / items).toFixed(1)}%`;
      return [task, shown(accuracies[metric]), share, String(gained), String(lost), p(pValue)];
    });
    print(table([["task", "its score", "flips", "gained", "lost", "McNemar p"], ...rows]));
    print("");
  }
  const share = (100 * count.tokens) / count.tokensAlone;
  print(`tokens       ${count.tokens}, ${share.toFixed(0)}% of those of each choice by itself`);
  if (known > 0) print(`known        ${known} choices, from an earlier run`);
  if (activations) print(`arithmetic   ${activations} activations`);
  print(`time         ${duration(seconds)} on ${backend}`);
}

function row({ task, items, metric, accuracies }: TaskScore): string[] {
  const { acc, acc_norm, acc_bytes } = accuracies;
  return [task, String(items), metric, shown(acc), shown(acc_norm), shown(acc_bytes)];
}

function shown(one: TaskScore["accuracies"]["acc"]): string {
  if (one === undefined) return "-";
  return `${one.value.toFixed(4)}${one.stderr === undefined ? "" : ` ± ${one.stderr.toFixed(4)}`}`;
}

function p(value: number): string {
  return value < 0.001 ? value.toExponential(1) : value.toFixed(3);
}

/**
 * The scores as lm-evaluation-harness writes its results, with the log-likelihoods beside; the version of its
 * own tasks is that whose rules are followed.
 */
export function tasksJson(
  model: string,
  {
    limit,
    against,
  }: { readonly limit?: number | undefined; readonly against?: string | undefined },
  { tasks, mean, meanAgainst, backend, activations, served, ...scores }: TaskScores,
) {
  const { tokens, tokensAlone, known, seconds } = scores;
  const by = <Value>(value: (one: TaskScore) => Value) =>
    Object.fromEntries(tasks.map((one) => [one.task, value(one)]));
  return {
    results: by((one) => ({ alias: one.task, ...figures(one) })),
    versions: by(({ task }) => (Object.hasOwn(TASKS, task) ? 1 : 0)),
    "n-shot": by(() => 0),
    higher_is_better: by(({ accuracies, perplexity }) => ({
      ...Object.fromEntries(Object.keys(accuracies).map((metric) => [metric, true])),
      ...(perplexity !== undefined && { perplexity: false }),
    })),
    "n-samples": by(({ items }) => ({ effective: items })),
    config: { model: "penjing", model_args: model, limit: limit ?? null, penjing: VERSION },
    reported: by(({ metric }) => metric),
    mean,
    logLikelihoods: by(({ logLikelihoods }) => logLikelihoods),
    gold: by(({ gold }) => gold),
    cut: by(({ cut }) => cut),
    ...(against !== undefined && {
      against: {
        model: against,
        mean: meanAgainst,
        results: by(({ task, against }) => ({ alias: task, ...figures(against!) })),
        flips: by(({ items, against }) => {
          const { flips, gained, lost, pValue } = against!;
          return { flips, share: flips / items, gained, lost, pValue };
        }),
      },
    }),
    ...{
      tokens,
      tokensAlone,
      known,
      backend,
      ...(activations && { activations }),
      served,
      seconds,
    },
  };
}

/** Figures under the names that lm-evaluation-harness gives them. */
function figures({ accuracies, perplexity }: Pick<TaskScore, "accuracies" | "perplexity">) {
  const pairs = Object.entries(accuracies).flatMap(([metric, { value, stderr }]) => [
    [`${metric},none`, value],
    [`${metric}_stderr,none`, stderr ?? "N/A"],
  ]);
  return {
    ...Object.fromEntries(pairs),
    ...(perplexity !== undefined && {
      "perplexity,none": perplexity,
      "perplexity_stderr,none": "N/A",
    }),
  };
}
