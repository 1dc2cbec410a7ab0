import type { Command } from "commander";
import { PenjingError } from "../errors.js";
import { type EvaluateOptions, evaluatePerplexity, type Perplexity } from "../evaluate.js";
import type { BosMode } from "../models/bos.js";
import { duration, openProgress, type PrintOptions, print, printJson } from "./console.js";
import { explainServed } from "./explain.js";
import { noteLine } from "./flags.js";
import { type HubFlags, MODEL_HELP, onModel, withHubFlags } from "./hub.js";
import {
  type BackendFlags,
  backendOf,
  number,
  type TokenizerFlags,
  withBosFlag,
  withCommonOptions,
  withTokenizerFlag,
} from "./options.js";
import { loadPlugins } from "./plugins.js";
import { printTasks, printTasksJson, scoreTasks } from "./tasks.js";
import { readTexts, TEXT_COLUMN, TEXT_FILES } from "./text.js";

interface EvaluateFlags extends PrintOptions, BackendFlags, TokenizerFlags, HubFlags {
  readonly text?: string;
  readonly tasks?: readonly string[];
  readonly data?: string;
  readonly limit?: number;
  readonly textColumn?: string;
  readonly window?: number;
  readonly against?: string;
  readonly lowMemory?: boolean;
  readonly bos: BosMode;
}

/** What `--low-memory` does, where a text is scored. */
export const LOW_MEMORY =
  "hold one block's weights at a time, and read them again where the text is long: the same figures, later (default: all weights in memory)";

const EXAMPLES = `
Examples:
  $ penjing eval llama-24/ --text wiki.test.raw
  $ penjing eval llama-24/ --text wiki.test.raw --window 256 --json
  $ penjing eval llama-24/ --against llama/ --text wiki.test.raw
  $ penjing eval llama-24/ --against llama/ --text wiki.test.raw --low-memory
  $ penjing eval model-Q4_K_M.gguf --text wiki.test.raw
  $ penjing eval llama-24/ --text wikitext-2-raw-v1/test.parquet
  $ zcat wiki.gz | penjing eval llama-24/ --text -
  $ penjing eval llama-24/ --tasks piqa,winogrande --data zeroshot/ --limit 200
`;

export function addEvaluate(program: Command, signal: AbortSignal): void {
  const command = withBosFlag(
    program
      .command("eval")
      .description("measure a model's perplexity on a text, or its accuracy on zero-shot tasks")
      .argument("<model>", MODEL_HELP)
      .option(
        "--text <file>",
        `what to score: ${TEXT_FILES}, or - for standard input (default: none, with --tasks)`,
      )
      .option("--text-column <name>", TEXT_COLUMN)
      .option(
        "--window <n>",
        "tokens in each window (default: the model's context, at most 2048)",
        number,
      )
      .option(
        "--against <model>",
        "the model that this one was made from: how far its probabilities are from that one's, token by token (default: none)",
      )
      .option("--low-memory", LOW_MEMORY)
      .option(
        "--tasks <list>",
        "answer these in place of a text: piqa, winogrande, hellaswag, arc_easy, arc_challenge with commas between, or all (default: none)",
        (list: string) => list.split(","),
      )
      .option(
        "--data <folder>",
        "where the tasks' JSON Lines are, in it or one folder below (default: none, with a text)",
      )
      .option("--limit <n>", "rows of each task at most (default: all)", number),
    "each window (auto: for families that need it)",
  );
  withHubFlags(withCommonOptions(withTokenizerFlag(command)))
    .addHelpText("after", EXAMPLES)
    .action((model: string, flags: EvaluateFlags) => run(model, flags, signal));
}

/** Scores a text while a progress bar runs. */
export async function scoreText(
  options: EvaluateOptions,
  title: string,
  print: PrintOptions,
): Promise<Perplexity> {
  const progress = openProgress(title, print);
  const started = performance.now();
  const work = evaluatePerplexity(options);
  try {
    for await (const event of work) {
      if (event.type === "note") {
        progress.line(noteLine(event));
        continue;
      }
      if (event.type === "tokenize") {
        progress.update(
          0,
          `${Math.floor((100 * event.done) / event.characters)}% of the text read`,
        );
        continue;
      }
      if (event.type === "block") {
        const { first, last, windows, done, blocks } = event;
        const which = `windows ${first} to ${last} of ${windows}`;
        progress.update((first - 1) / windows, `${which}, block ${done} of ${blocks}`);
        continue;
      }
      const { done, windows, perplexity } = event;
      const rate = done / ((performance.now() - started) / 1000);
      progress.update(done / windows, `perplexity ${perplexity.toFixed(3)}`, {
        rate: `${rate.toPrecision(3)} windows/s`,
      });
    }
  } finally {
    progress.stop();
  }
  return work.result();
}

async function run(model: string, flags: EvaluateFlags, signal: AbortSignal): Promise<void> {
  const { window, bos, tokenizer, lowMemory } = flags;
  refuseMixed(flags);
  const plugins = await loadPlugins(flags);
  if (flags.tasks) {
    const { limit, data = "", tasks: names } = flags;
    const tasks = String(names) === "all" ? undefined : names;
    const options = { tasks, data, limit, bos, tokenizer, plugins, signal, ...backendOf(flags) };
    const scores = await onModel(model, flags, signal, (model) =>
      scoreTasks({ ...options, model }, flags),
    );
    if (flags.json) printTasksJson(model, limit, scores);
    else printTasks(scores);
    if (flags.explain && !flags.json) print(`\n${explainServed(scores.served)}`);
    return;
  }
  const { quiet, textColumn: column } = flags;
  const text = await readTexts(flags.text!, { reader: "--text", column, signal, quiet });
  const given = { text, window, bos, tokenizer, plugins, lowMemory, signal };
  const options = { ...given, ...backendOf(flags) };
  const score = await onModel(model, flags, signal, async (model) => {
    if (flags.against === undefined) return scoreText({ ...options, model }, "eval", flags);
    return onModel(flags.against, flags, signal, (against) =>
      scoreText({ ...options, model, against }, "eval", flags),
    );
  });
  if (flags.json) {
    const against = score.against && { model: flags.against, ...score.against };
    printJson({ model, text: flags.text, ...score, ...(against && { against }) });
    return;
  }
  print(`perplexity   ${score.perplexity.toFixed(4)}`);
  if (score.against) {
    const { perplexity, perplexityRatio, kl, agreement } = score.against;
    print(
      `ratio        ${perplexityRatio.toFixed(4)} of ${perplexity.toFixed(4)}, ${flags.against}`,
    );
    print(`KL           ${kl.toPrecision(4)} nats a token`);
    print(`agreement    ${(100 * agreement).toFixed(2)}% of the likeliest tokens are the same`);
  }
  print(`bits         ${bitsText(score)}`);
  print(`tokens       ${score.tokens} predicted, ${score.windows} windows of ${score.window}`);
  if (score.bosId !== undefined) print(`bos          token ${score.bosId} begins each window`);
  if (score.unknownTokens > 0) print(`unknown      ${score.unknownTokens} tokens of the text`);
  print(`text         sha256 ${score.textSha256}`);
  print(`time         ${duration(score.seconds)} on ${score.backend}`);
  if (flags.explain) print(`\n${explainServed(score.served)}`);
}

/** Flags that a text has and tasks have not, and the other way round. */
const OF_TEXTS = ["textColumn", "window", "against", "lowMemory"] as const;
const OF_TASKS = ["data", "limit"] as const;

/** @throws PenjingError unless there is either a text or tasks, with what belongs to it */
function refuseMixed(flags: EvaluateFlags): void {
  const { text, tasks, data } = flags;
  if ((text === undefined) === (tasks === undefined)) {
    const what = text === undefined ? "there is nothing to score" : "a text and tasks are given";
    throw new PenjingError("eval", `${what}; give either --text or --tasks.`);
  }
  const other = (tasks ? OF_TEXTS : OF_TASKS).find((name) => flags[name] !== undefined);
  if (other !== undefined) {
    const flag = `--${other.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    throw new PenjingError(flag, `it goes with ${tasks ? "--text" : "--tasks"}; leave it out.`);
  }
  if (tasks && data === undefined) {
    throw new PenjingError(
      "--tasks",
      "nothing says where their rows are; give --data, a folder with the tasks' JSON Lines.",
    );
  }
}

/** Bits that weights take where they are stored, as they are read by people. */
export function bitsText({ bitsPerWeight: { compressed, whole } }: Perplexity): string {
  // Embedding and head do not count among them, whether they are compressed or not.
  const ofBlocks = `${compressed?.toFixed(2)} a compressed weight of the blocks`;
  const parts = compressed === undefined ? [] : [ofBlocks];
  return [...parts, `${whole.toFixed(2)} a weight of the whole model`].join(", ");
}
