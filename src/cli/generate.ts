import type { Command } from "commander";
import { generate } from "../generate.js";
import type { BosMode } from "../models/bos.js";
import type { SamplingOptions } from "../sample.js";
import { type PrintOptions, print, printJson, printNote, printPart } from "./console.js";
import { explainServed } from "./explain.js";
import { noteLine } from "./flags.js";
import { type BackendFlags, number, withBosFlag, withCommonOptions } from "./options.js";
import { loadPlugins } from "./plugins.js";
import { readText, STDIN } from "./text.js";

interface GenerateFlags extends PrintOptions, BackendFlags, SamplingOptions {
  readonly maxNewTokens: number;
  readonly seed: number;
  readonly ignoreEos?: boolean;
  readonly bos: BosMode;
}

const EXAMPLES = `
Examples:
  $ penjing generate llama-24/ "Once upon a time"
  $ echo "Once upon a time" | penjing generate llama-24/ -
  $ penjing generate llama-24/ "Once upon a time" --temperature 0.8 --top-p 0.95 --seed 7
`;

export function addGenerate(program: Command, signal: AbortSignal): void {
  const command = withBosFlag(
    program
      .command("generate")
      .description("continue a text with a model")
      .argument("<model>", "model folder")
      .argument("[prompt]", "text to continue, or - for standard input", "")
      .option("--max-new-tokens <n>", "tokens to generate at most", number, 256)
      .option("--temperature <t>", "0 takes the likeliest token", number, 0)
      .option("--top-k <k>", "draw from the k likeliest tokens; 0 = all", number, 0)
      .option("--top-p <p>", "draw from the likeliest tokens of this mass", number, 1)
      .option("--seed <n>", "seed of the draws", number, 0)
      .option("--ignore-eos", "go on after an end-of-text token"),
    "the prompt (auto: as the tokenizer says)",
  );
  withCommonOptions(command)
    .addHelpText("after", EXAMPLES)
    .action((path: string, prompt: string, flags: GenerateFlags) =>
      run(path, prompt, flags, signal),
    );
}

/** The prompt from standard input, without the line break that `echo` puts behind it. */
async function readPrompt({ quiet }: GenerateFlags, signal: AbortSignal): Promise<string> {
  const text = await readText(STDIN, { reader: "the prompt", signal, quiet });
  return text.replace(/\r?\n$/, "");
}

async function run(
  path: string,
  given: string,
  flags: GenerateFlags,
  signal: AbortSignal,
): Promise<void> {
  const { json, quiet, explain, verbose: _, plugin: __, ...sampling } = flags;
  const plugins = await loadPlugins(flags);
  const prompt = given === STDIN ? await readPrompt(flags, signal) : given;
  const work = generate({ ...sampling, model: path, prompt, plugins, signal });
  let shown = json ? "" : prompt;
  let isMidLine = false;
  try {
    for await (const event of work) {
      if (event.type === "note") {
        if (!quiet) printNote(noteLine(event));
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
  const { promptIds, ids, ...result } = await work.result();
  if (json) {
    printJson({ ...result, promptIds: Array.from(promptIds), ids: Array.from(ids) });
    return;
  }
  print("");
  if (!quiet) {
    const rate = result.tokensPerSecond.toFixed(1);
    process.stderr.write(
      `${ids.length} tokens at ${rate} tokens/s on ${result.backend}; stopped by ${result.stoppedBy}\n`,
    );
  }
  if (explain) print(`\n${explainServed(result.served)}`);
}
