import type { Command } from "commander";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import type { DatasetDocument } from "../datasets/document.js";
import { PenjingError } from "../errors.js";
import { type GenerateEvent, type Generation, generate } from "../generate.js";
import type { BosMode } from "../models/bos.js";
import { openModel } from "../models/open.js";
import type { Run } from "../run.js";
import type { SamplingOptions } from "../sample.js";
import { type PrintOptions, print, printJson, printNote, printPart, told } from "./console.js";
import { explainServed } from "./explain.js";
import { noteLine } from "./flags.js";
import { type PromptsFlags, rateOf, readPrompts, runBatch } from "./generate-batch.js";
import { type HubFlags, MODEL_HELP, onModel, withHubFlags } from "./hub.js";
import { type MemoryFlags, maxMemoryOf, withMemoryFlag } from "./memory.js";
import {
  type ActivationsFlag,
  type BackendFlags,
  backendOf,
  type KvCacheFlag,
  number,
  type TokenizerFlags,
  withActivationsFlag,
  withBosFlag,
  withCommonOptions,
  withKvCacheFlag,
  withTokenizerFlag,
} from "./options.js";
import { loadPlugins } from "./plugins.js";
import { talk } from "./talk.js";
import { readText, STDIN, TEXT_COLUMN, TEXT_FILES } from "./text.js";

interface GenerateFlags
  extends PrintOptions,
    BackendFlags,
    SamplingOptions,
    TokenizerFlags,
    HubFlags,
    MemoryFlags,
    ActivationsFlag,
    PromptsFlags,
    KvCacheFlag {
  readonly maxNewTokens: number;
  readonly seed: number;
  readonly ignoreEos?: boolean;
  readonly bos: BosMode;
  readonly chat?: boolean;
  readonly system?: string;
}

const EXAMPLES = `
Examples:
  $ penjing generate llama-24/ "Once upon a time"
  $ echo "Once upon a time" | penjing generate llama-24/ -
  $ penjing generate llama-24/ "Once upon a time" --temperature 0.8 --top-p 0.95 --seed 7
  $ penjing generate model-Q4_K_M.gguf "Once upon a time"
  $ penjing generate llama-int4/ "Once upon a time" --activations float
  $ penjing generate llama-24/ --prompts beginnings.txt --batch 4
  $ penjing generate llama-int4/ "Once upon a time" --kv-cache int8
  $ penjing generate llama-instruct-24/ "Why is the sky blue?" --chat
  $ penjing generate llama-instruct-24/ --prompts questions.jsonl --text-column question --chat --json
  $ penjing generate llama-instruct-24/ --chat --system "Answer in one sentence."
`;

export function addGenerate(program: Command, signal: AbortSignal): void {
  const command = withBosFlag(
    program
      .command("generate")
      .description("continue a text with a model")
      .argument("<model>", MODEL_HELP)
      .argument("[prompt]", "text to continue, or - for standard input", "")
      .option(
        "--chat",
        "answer the prompt as a message, by the model's chat template; without one, talk on a terminal",
      )
      .option(
        "--system <text>",
        "with --chat: the system message, where a conversation has none (default: the template's own)",
      )
      .option(
        "--prompts <file>",
        `generate from many prompts together: ${TEXT_FILES}, of plain text each line, or - for standard input (default: none)`,
      )
      .option("--text-column <name>", TEXT_COLUMN)
      .option(
        "--batch <n>",
        "with --prompts: most of them that are generated together (default: 8)",
        number,
      )
      .option("--max-new-tokens <n>", "tokens to generate at most", number, 256)
      .option("--temperature <t>", "0 takes the likeliest token", number, 0)
      .option("--top-k <k>", "draw from the k likeliest tokens; 0 = all", number, 0)
      .option("--top-p <p>", "draw from the likeliest tokens of this mass", number, 1)
      .option(
        "--seed <n>",
        "seed of the draws; of --prompts that of the first, and each next has the next",
        number,
        0,
      )
      .option("--ignore-eos", "go on after an end-of-text token"),
    "the prompt (auto: as the tokenizer says)",
  );
  const running = withKvCacheFlag(withActivationsFlag(withMemoryFlag(command), "int8"));
  withHubFlags(withCommonOptions(withTokenizerFlag(running)))
    .addHelpText("after", EXAMPLES)
    .action((path: string, prompt: string, flags: GenerateFlags) =>
      onModel(path, flags, signal, (model) => run(model, prompt, flags, signal)),
    );
}

/** An open model runs where it was opened. */
const OWN_BACKEND = { backend: undefined, threads: undefined, simd: undefined } as const;

/** The prompt from standard input, without the line break that `echo` puts behind it. */
async function readPrompt({ quiet }: GenerateFlags, signal: AbortSignal): Promise<string> {
  const text = await readText(STDIN, { reader: "the prompt", signal, quiet });
  return text.replace(/\r?\n$/, "");
}

/** @throws PenjingError for flags that only prompts of a file have, and for a prompt beside these */
function checkPrompts(given: string, { prompts, textColumn, batch }: GenerateFlags): void {
  if (prompts !== undefined && given !== "") {
    throw new PenjingError("--prompts", "a prompt was given too; give one of the two.");
  }
  if (prompts === undefined && textColumn !== undefined) {
    throw new PenjingError("--text-column", "it is of a file of prompts; give --prompts with it.");
  }
  if (prompts === undefined && batch !== undefined) {
    throw new PenjingError("--batch", "it is of a file of prompts; give --prompts with it.");
  }
}

async function run(
  source: string | Checkpoint,
  given: string,
  flags: GenerateFlags,
  signal: AbortSignal,
): Promise<void> {
  const {
    json,
    jsonLines: _,
    quiet: __,
    explain: ___,
    chat,
    system,
    verbose,
    plugin,
    prompts: file,
    textColumn,
    batch,
    ...others
  } = flags;
  const { revision, offline, download, ...sampling } = others;
  checkPrompts(given, flags);
  if (system !== undefined && !chat) {
    throw new PenjingError("--system", "it is the first message of a chat; give --chat with it.");
  }
  const maxMemory = await maxMemoryOf(flags);
  const plugins = await loadPlugins(flags);
  const options = { ...sampling, model: source, plugins, maxMemory, signal };
  const opening = system === undefined ? [] : [{ role: "system", content: system }];
  if (file !== undefined) {
    const asked = await readPrompts(flags, { signal, quiet: flags.quiet });
    const asMessages = (one: DatasetDocument) => {
      // A conversation that has a system message keeps its own.
      if (typeof one !== "string") return one[0]?.role === "system" ? one : [...opening, ...one];
      return chat ? [...opening, { role: "user", content: one }] : one;
    };
    const { served } = await runBatch({ ...options, prompts: asked.map(asMessages), batch }, flags);
    if (flags.explain && !json) print(`\n${explainServed(served)}`);
    return;
  }
  const isTalk = chat && given === "" && process.stdin.isTTY && !json;
  if (isTalk) {
    const { tokenizer, activations } = options;
    const asked = { ...backendOf(flags), plugins, tokenizer, maxMemory, activations, signal };
    const model = await openModel(source, asked);
    try {
      await talk({ messages: opening, signal }, async (messages) => {
        const work = generate({ ...options, ...OWN_BACKEND, model, messages });
        const result = await tell(work, "", flags);
        summarise(result, flags);
        return result;
      });
    } finally {
      await model.close();
    }
    return;
  }
  const isRead = given === STDIN || (chat && given === "");
  const prompt = isRead ? await readPrompt(flags, signal) : given;
  const asked = chat ? { messages: [...opening, { role: "user", content: prompt }] } : { prompt };
  const work = generate({ ...options, ...asked });
  const result = await tell(work, chat ? "" : prompt, flags);
  if (!json) return summarise(result, flags);
  printJson(result, flags);
}

function summarise(result: Generation, { quiet, explain }: GenerateFlags): void {
  const { ids, stoppedBy, served } = result;
  if (!quiet) printNote(`${ids.length} tokens at ${rateOf(result)}; stopped by ${stoppedBy}`);
  if (explain) print(`\n${explainServed(served)}`);
}

/** Prints a text as it is generated, behind what is shown before. */
async function tell(
  work: Run<GenerateEvent, Generation>,
  before: string,
  printing: PrintOptions,
): Promise<Generation> {
  const { json, quiet, jsonLines } = printing;
  let shown = json ? "" : before;
  let isMidLine = false;
  try {
    for await (const event of told("generate", work, printing)) {
      if (event.type === "note") {
        if (!quiet && !jsonLines) printNote(noteLine(event));
        continue;
      }
      // The prompt waits for the first token: one that is refused is not printed.
      if (!json) printPart(shown + event.text);
      isMidLine = !json;
      shown = "";
    }
  } catch (error) {
    // What follows begins a line of its own.
    if (isMidLine) print("");
    throw error;
  }
  if (!json) print("");
  return work.result();
}
