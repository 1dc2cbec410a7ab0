import { stat } from "node:fs/promises";
import type { Command } from "commander";
import { openCompressRegistry } from "../compress/registry.js";
import { type CompressResult, compress } from "../compress.js";
import type { Perplexity } from "../evaluate.js";
import type { BosMode } from "../models/bos.js";
import { partialPath } from "../platform/disk.js";
import { refuseOverlap } from "../platform/overlap.js";
import {
  duration as durationText,
  openProgress,
  type PrintOptions,
  type Progress,
  print,
  printJson,
  printNote,
  size,
  table,
} from "./console.js";
import { scoreText } from "./evaluate.js";
import { explainServed } from "./explain.js";
import { noteLine } from "./flags.js";
import {
  type BackendFlags,
  backendOf,
  byteCount,
  duration,
  number,
  readTextFile,
  withBosFlag,
  withCommonOptions,
} from "./options.js";
import { loadPlugins } from "./plugins.js";
import {
  describeSteps,
  type RecipeFlags,
  readRecipeFlags,
  withRecipeFlags,
} from "./recipe-flags.js";

type CompressFlags = PrintOptions &
  BackendFlags &
  RecipeFlags & {
    readonly calibration: string;
    readonly out: string;
    readonly eval?: string;
    readonly window?: number;
    readonly bos: BosMode;
    readonly shardSize?: number;
    readonly budget?: number;
    readonly work?: string;
    readonly force?: boolean;
  };

const EXAMPLES = `
Examples:
  $ penjing compress llama/ --calibration text.txt --out llama-24/
  $ penjing compress llama/ --method wanda --sparsity 50% --calibration text.txt --out out/
  $ penjing compress llama/ --calibration text.txt --out out/ --layout two-four --eval wiki.test.raw
  $ penjing compress llama/ --recipe recipe.yaml --calibration text.txt --out out/
  $ penjing compress llama/ --step 'rotate: { scope: shared }' \\
      --step 'prune: { method: wanda, sparsity: "2:4" }' --calibration text.txt --out out/

${describeSteps()}
`;

export function addCompress(program: Command, signal: AbortSignal): void {
  const command = withRecipeFlags(
    program
      .command("compress")
      .description("prune a model folder and write the result as a new folder")
      .argument("<model>", "model folder (config.json, tokenizer.json, *.safetensors)")
      .requiredOption("--calibration <file>", "text that the model is calibrated on")
      .requiredOption("--out <folder>", "folder to write"),
  )
    .option("--budget <time>", "time for the run, such as 90s, 30m or 2h", duration)
    .option("--work <folder>", "keep unfinished work there instead of at OUT.partial")
    .option("--eval <file>", "measure perplexity on this text before and after")
    .option("--window <n>", "tokens in each window of --eval", number)
    .option("--shard-size <bytes>", "begin a new weights file after this many bytes", byteCount)
    .option("--force", "replace the output folder when it exists, and begin anew");
  withCommonOptions(withBosFlag(command, "each window (auto: for families that need it)"))
    .addHelpText("after", EXAMPLES)
    .action((model: string, flags: CompressFlags) => run(model, flags, signal));
}

async function run(model: string, flags: CompressFlags, signal: AbortSignal): Promise<void> {
  const { bos, budget, force, out, work: folder } = flags;
  const backend = backendOf(flags);
  const plugins = await loadPlugins(flags);
  const registry = openCompressRegistry(plugins);
  const recipe = await readRecipeFlags(flags, registry);
  const calibration = await readTextFile(flags.calibration);
  const text = flags.eval ? await readTextFile(flags.eval) : undefined;
  for (const input of [flags.calibration, flags.recipe, flags.eval]) {
    if (input) await refuseOverlap(out, input);
  }
  const score = (path: string, title: string) =>
    text === undefined
      ? undefined
      : scoreText(
          { model: path, text, window: flags.window, bos, plugins, ...backend, signal },
          title,
          flags,
        );
  const options = {
    model,
    out,
    calibration,
    bos,
    recipe,
    force,
    budget,
    work: folder,
    plugins,
    signal,
  };
  const work = compress({ ...options, ...backend, shardBytes: flags.shardSize });
  let before: Perplexity | undefined;
  let progress: Progress | undefined;
  try {
    for await (const event of work) {
      if (event.type === "start") {
        // Scored here, after the input was found to be good: it may take long.
        before = await score(model, "before ");
        progress = openProgress("compress", flags);
      } else if (event.type === "progress") {
        const { block, blocks, phase, fraction } = event;
        progress?.update(fraction, `block ${block + 1} of ${blocks}, ${phase}`);
      } else if (event.type === "note") {
        progress?.line(noteLine(event));
      }
    }
  } catch (error) {
    progress?.stop();
    if (progress) await tellKept(flags);
    throw error;
  }
  progress?.stop();
  const result = await work.result();
  const after = await score(out, "after  ");
  if (flags.json) printJson({ model, out, ...result, before, after });
  else printResult(out, result, before, after, flags);
}

/** Says where the work of a run that ended too early is kept, if any is. */
async function tellKept({ work, out, force }: CompressFlags): Promise<void> {
  const isThere = (path: string) => stat(path).catch(() => undefined);
  const folder = work ?? (await partialPath(out));
  if (!(await isThere(folder))) return;
  // --force would begin anew, and without it an output that is there is not replaced.
  const first = force && !work && (await isThere(out)) ? `once ${out} is moved away, ` : "";
  const command = force && !work ? "the same command without --force" : "the same command";
  printNote(`what is done so far is kept in ${folder}; ${first}${command} goes on`);
}

function printResult(
  out: string,
  { layers, totals, seconds, served }: CompressResult,
  before: Perplexity | undefined,
  after: Perplexity | undefined,
  { explain, quiet }: PrintOptions,
): void {
  if (!quiet) {
    const rows = layers.map(({ name, method, sparsity, removed, layerError }) => [
      name,
      method,
      sparsity,
      `${(removed * 100).toFixed(1)}%`,
      layerError === undefined ? "-" : layerError.toPrecision(3),
    ]);
    print(table([["layer", "method", "sparsity", "removed", "layer error"], ...rows]));
    print("");
  }
  const share = (totals.removed * 100).toFixed(1);
  print(`layers       ${layers.length} pruned, ${share}% of their weights removed`);
  print(
    `bytes        ${size(totals.bytesBefore)} -> ${size(totals.bytesAfter)} (pruned layers: ${size(totals.layerBytesBefore)} -> ${size(totals.layerBytesAfter)})`,
  );
  if (before && after) {
    print(
      `perplexity   ${before.perplexity.toFixed(3)} -> ${after.perplexity.toFixed(3)} (${after.windows} windows of ${after.window} tokens)`,
    );
  }
  print(`written to   ${out} in ${durationText(seconds)}`);
  if (explain) print(`\n${explainServed(served)}`);
}
