import type { Command } from "commander";
import { PenjingError } from "../errors.js";
import { type EvaluateOptions, evaluatePerplexity, type Perplexity } from "../evaluate.js";
import type { BosMode } from "../models/bos.js";
import { duration, openProgress, type PrintOptions, print, printJson, told } from "./console.js";
import { EndedEarly } from "./ending.js";
import { explainServed } from "./explain.js";
import { flagOf, noteLine } from "./flags.js";
import { type HubFlags, MODEL_HELP, onModel, withHubFlags } from "./hub.js";
import { type MemoryFlags, maxMemoryOf, withMemoryFlag } from "./memory.js";
import {
  type ActivationsFlag,
  type BackendFlags,
  backendOf,
  collect,
  number,
  type TokenizerFlags,
  withActivationsFlag,
  withBosFlag,
  withCommonOptions,
  withTokenizerFlag,
} from "./options.js";
import { loadPlugins } from "./plugins.js";
import { ResultFile } from "./result-file.js";
import { givenTasks } from "./task-files.js";
import { printTasks, scoreTasks, tasksJson } from "./tasks.js";
import { readTexts, TEXT_COLUMN, TEXT_FILES } from "./text.js";

interface EvaluateFlags
  extends PrintOptions,
    BackendFlags,
    TokenizerFlags,
    HubFlags,
    MemoryFlags,
    ActivationsFlag {
  readonly text?: string;
  readonly tasks?: readonly string[];
  readonly data?: readonly string[];
  readonly out?: string;
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
  $ penjing eval llama-24/ --against llama/ --text wiki.test.raw --max-memory 8GiB
  $ penjing eval model-Q4_K_M.gguf --text wiki.test.raw
  $ penjing eval llama-int4/ --against llama/ --text wiki.test.raw --activations int8
  $ penjing eval llama-24/ --text wikitext-2-raw-v1/test.parquet
  $ zcat wiki.gz | penjing eval llama-24/ --text -
  $ penjing eval llama-24/ --tasks piqa,winogrande --data zeroshot/ --limit 200
  $ penjing eval llama-24/ --against llama/ --tasks all --data zeroshot/ --out results.json
  $ penjing eval llama-24/ --tasks lambada.yaml
  $ penjing eval llama-24/ --tasks arc_easy --data arc_easy=hf://datasets/allenai/ai2_arc/ARC-Easy/test-00000-of-00001.parquet
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
        "the model that this one was made from: how far its probabilities are from that one's, token by token, and which answers changed (default: none)",
      )
      .option("--low-memory", LOW_MEMORY)
      .option(
        "--tasks <list>",
        "answer these: piqa, winogrande, hellaswag, arc_easy, arc_challenge or all, and .yaml files of one's own, with commas between (default: none)",
        (list: string) => list.split(","),
      )
      .option(
        "--data <folder>",
        "where the tasks' JSON Lines or Parquet are, in it or one folder below; TASK=FILE for one task's alone, on the disk or hf://datasets/org/name/FILE; repeatable (default: none)",
        collect,
      )
      .option("--limit <n>", "rows of each task at most (default: all)", number)
      .option(
        "--out <file>",
        "write the results there as JSON; answers are kept beside it until then, and the same command goes on with them (default: none)",
      ),
    "each window (auto: for families that need it)",
  );
  const running = withActivationsFlag(withMemoryFlag(command), "float");
  withHubFlags(withCommonOptions(withTokenizerFlag(running)))
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
    for await (const event of told(title.trim(), work, print)) {
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
  refuseMixed(flags);
  const { out, json, explain } = flags;
  const { bos, tokenizer, activations } = flags;
  const plugins = await loadPlugins(flags);
  const maxMemory = await maxMemoryOf(flags);
  const own = { bos, tokenizer, activations, plugins, maxMemory, signal };
  const options = { ...own, ...backendOf(flags) };
  const results = out === undefined ? undefined : await ResultFile.open(out, flags);
  try {
    // Both inputs are read before the model, which may be a long download.
    const text = flags.text === undefined ? undefined : await readGiven(flags, signal);
    const tasks = flags.tasks && (await givenTasks(flags, signal));
    await onBoth(model, flags, signal, async (models) => {
      const score = text && (await scoreText({ ...options, ...models, ...text }, "eval", flags));
      const { limit } = flags;
      const asked = { ...options, ...models, ...tasks, limit, answers: results };
      const scores = tasks && (await scoreTasks(asked, flags));
      const document = {
        ...(score && textJson(model, flags, score)),
        ...(scores &&
          (score ? { tasks: tasksJson(model, flags, scores) } : tasksJson(model, flags, scores))),
      };
      await results?.finish(document);
      if (json) return printJson(document, flags);
      if (score) printText(score, flags);
      if (score && scores) print("");
      if (scores) printTasks(scores, flags.against);
      if (out !== undefined) print(`written to   ${out}`);
      for (const one of explain ? [score, scores] : []) {
        if (one) print(`\n${explainServed(one.served)}`);
      }
    });
  } catch (error) {
    if (!results?.hasAnswers) throw error;
    throw new EndedEarly(error, "the answers so far are kept, and the same command goes on there");
  } finally {
    await results?.leave();
  }
}

async function readGiven(flags: EvaluateFlags, signal: AbortSignal) {
  const { quiet, textColumn: column, window, lowMemory } = flags;
  const text = await readTexts(flags.text!, { reader: "--text", column, signal, quiet });
  return { text, window, lowMemory };
}

/** Finds the model, and the one that it is compared with. */
function onBoth(
  name: string,
  flags: EvaluateFlags,
  signal: AbortSignal,
  work: (models: Pick<EvaluateOptions, "model" | "against">) => Promise<void>,
): Promise<void> {
  return onModel(name, flags, signal, (model) =>
    flags.against === undefined
      ? work({ model })
      : onModel(flags.against, flags, signal, (against) => work({ model, against })),
  );
}

function textJson(model: string, { text, against }: EvaluateFlags, score: Perplexity) {
  const other = score.against && { model: against, ...score.against };
  return { model, text, ...score, ...(other && { against: other }) };
}

/** Prints the perplexity for people. */
function printText(score: Perplexity, flags: EvaluateFlags): void {
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
  if (score.activations) print(`arithmetic   ${score.activations} activations`);
  print(`time         ${duration(score.seconds)} on ${score.backend}`);
}

/** Flags that a text has and tasks have not, and the other way round. */
const OF_TEXTS = ["textColumn", "window", "lowMemory"] as const;
const OF_TASKS = ["data", "limit"] as const;

/** @throws PenjingError unless there is a text or there are tasks, with what belongs to them */
function refuseMixed(flags: EvaluateFlags): void {
  const { text, tasks, data } = flags;
  if (text === undefined && tasks === undefined) {
    throw new PenjingError(
      "penjing eval",
      "there is nothing to score; give --text, --tasks or both.",
    );
  }
  const of = [
    ["--text", text, OF_TEXTS],
    ["--tasks", tasks, OF_TASKS],
  ] as const;
  for (const [flag, given, names] of of) {
    const stray = given === undefined ? names.find((name) => flags[name] !== undefined) : undefined;
    if (stray === undefined) continue;
    throw new PenjingError(flagOf(stray), `it goes with ${flag}; leave it out.`);
  }
  const isNamed = tasks?.some((name) => !/\.(ya?ml|json)$/i.test(name));
  if (isNamed && data === undefined) {
    throw new PenjingError(
      "--tasks",
      "nothing says where their rows are; give --data, a folder with the tasks' JSON Lines or Parquet.",
    );
  }
}

/** Bits that weights take where they are stored, as they are read by people. */
export function bitsText({
  bitsPerWeight: { compressed, whole },
}: Pick<Perplexity, "bitsPerWeight">): string {
  // Embedding and head do not count among them, whether they are compressed or not.
  const ofBlocks = `${compressed?.toFixed(2)} a compressed weight of the blocks`;
  const parts = compressed === undefined ? [] : [ofBlocks];
  return [...parts, `${whole.toFixed(2)} a weight of the whole model`].join(", ");
}
