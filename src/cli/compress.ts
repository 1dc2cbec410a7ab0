import { stat } from "node:fs/promises";
import { type Command, Option } from "commander";
import { parse as parseYaml } from "yaml";
import { type CompressResult, compress } from "../compress.js";
import { PenjingError } from "../errors.js";
import type { Perplexity } from "../evaluate.js";
import { methods } from "../methods/index.js";
import { partialPath } from "../platform/disk.js";
import { refuseOverlap } from "../platform/overlap.js";
import { DEFAULT_RECIPE, type Recipe, readRecipe } from "../recipe.js";
import { ROTATION_LOSSES, ROTATION_OBJECTIVES, type RotateRecipe } from "../rotation.js";
import {
  duration as durationText,
  openProgress,
  type PrintOptions,
  type Progress,
  print,
  printJson,
  size,
  table,
} from "./console.js";
import { scoreText } from "./evaluate.js";
import { explainServed } from "./explain.js";
import { describeMethods, methodOptionsOf, withMethodOptions } from "./method-options.js";
import {
  type BackendFlags,
  backendOf,
  byteCount,
  collect,
  duration,
  LAYOUT_NAMES,
  number,
  readTextFile,
  withCommonOptions,
} from "./options.js";

interface CompressFlags extends PrintOptions, BackendFlags {
  readonly calibration: string;
  readonly out: string;
  readonly method?: string;
  readonly sparsity?: string;
  readonly ignore?: readonly string[];
  readonly statistics?: Recipe["statistics"];
  readonly samples?: number;
  readonly length?: number;
  readonly seed?: number;
  readonly layout?: string;
  readonly rotate?: "denoise";
  readonly rotateScope?: string;
  readonly rotateSteps?: number;
  readonly rotateLearningRate?: number;
  readonly rotateBlockSize?: number;
  readonly rotateObjective?: RotateRecipe["objective"];
  readonly rotateLoss?: RotateRecipe["loss"];
  readonly rotateScoreDamping?: number;
  readonly stream?: Recipe["stream"];
  readonly layerError: boolean;
  readonly recipe?: string;
  readonly eval?: string;
  readonly window?: number;
  readonly shardSize?: number;
  readonly budget?: number;
  readonly work?: string;
  readonly force?: boolean;
}

const EXAMPLES = `
Examples:
  $ penjing compress llama/ --calibration text.txt --out llama-24/
  $ penjing compress llama/ --method wanda --sparsity 50% --calibration text.txt --out out/
  $ penjing compress llama/ --calibration text.txt --out out/ --layout two-four --eval wiki.test.raw
  $ penjing compress llama/ --recipe recipe.yaml --calibration text.txt --out out/

Methods and their options:
${describeMethods()}
`;

export function addCompress(program: Command, signal: AbortSignal): void {
  const d = DEFAULT_RECIPE;
  const command = withMethodOptions(
    program
      .command("compress")
      .description("prune a model folder and write the result as a new folder")
      .argument("<model>", "model folder (config.json, tokenizer.json, *.safetensors)")
      .requiredOption("--calibration <file>", "text that the model is calibrated on")
      .requiredOption("--out <folder>", "folder to write")
      .option("--method <name>", `${Object.keys(methods).join(", ")} (default: ${d.method})`)
      .option("--sparsity <pattern>", `N:M or share to remove (default: ${d.sparsity})`)
      .option("--ignore <glob>", "leave these layers as they are; repeatable", collect)
      .option("--statistics <mode>", `sequential or dense (default: ${d.statistics})`)
      .option("--samples <n>", `calibration windows (default: ${d.samples})`, number)
      .option("--length <n>", `tokens in each window (default: ${d.length})`, number)
      .option("--seed <n>", `seed of methods that draw (default: ${d.seed})`, number)
      .option("--layout <name>", `${LAYOUT_NAMES} (default: ${d.layout})`)
      .addOption(
        new Option("--rotate <method>", "rotate the blocks first: denoise").choices(["denoise"]),
      )
      .option("--rotate-scope <scope>", "blocks of one rotation: block, shared or groups:N")
      .option("--rotate-steps <n>", "updates of each rotation (default: 100)", number)
      .option("--rotate-learning-rate <r>", "step of its optimiser", number)
      .option("--rotate-block-size <n>", "features that it mixes with one another", number)
      .addOption(
        new Option("--rotate-objective <name>", "whose importance it concentrates").choices(
          ROTATION_OBJECTIVES,
        ),
      )
      .addOption(
        new Option(
          "--rotate-loss <name>",
          "what it lowers: what the pattern removes, or entropy",
        ).choices(ROTATION_LOSSES),
      )
      .option("--rotate-score-damping <r>", "damping in that importance", number)
      .option("--stream <dtype>", `activations between blocks: f32 or bf16 (default: ${d.stream})`)
      .option("--budget <time>", "time for the run, such as 90s, 30m or 2h", duration)
      .option("--work <folder>", "keep unfinished work there instead of at OUT.partial")
      .option("--no-layer-error", "do not measure each layer's error")
      .option("--recipe <file>", "YAML or JSON file with these settings; flags win over it")
      .option("--eval <file>", "measure perplexity on this text before and after")
      .option("--window <n>", "tokens in each window of --eval", number)
      .option("--shard-size <bytes>", "begin a new weights file after so many bytes", byteCount)
      .option("--force", "replace the output folder when it exists, and begin anew"),
  );
  withCommonOptions(command)
    .addHelpText("after", EXAMPLES)
    .action((model: string, flags: CompressFlags) => run(model, flags, signal));
}

/** The recipe file's keys, overridden by the flags that were given. */
async function readRecipeFlags(flags: CompressFlags): Promise<Partial<Recipe>> {
  const fromFile = flags.recipe ? await readRecipeFile(flags.recipe) : {};
  const isOtherMethod = flags.method && flags.method !== (fromFile.method ?? DEFAULT_RECIPE.method);
  const given: Partial<Recipe> = {
    method: flags.method,
    sparsity: flags.sparsity,
    // The file's options belong to the file's method.
    options: { ...(isOtherMethod ? {} : fromFile.options), ...methodOptionsOf(flags) },
    ignore: flags.ignore && [...(fromFile.ignore ?? DEFAULT_RECIPE.ignore), ...flags.ignore],
    statistics: flags.statistics,
    samples: flags.samples,
    length: flags.length,
    seed: flags.seed,
    layout: flags.layout,
    stream: flags.stream,
    layerError: flags.layerError ? undefined : false,
    rotate: rotateFlags(flags, fromFile.rotate),
  };
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  // Checked alone for the message: a flag's fault is not the file's.
  readRecipe({ method: fromFile.method, ...Object.fromEntries(set) }, "command line");
  return { ...fromFile, ...Object.fromEntries(set) };
}

/** What the flags and the recipe file say of rotations together; undefined when neither asks. */
function rotateFlags(flags: CompressFlags, fromFile: Recipe["rotate"]): Recipe["rotate"] {
  const given: RotateRecipe = {
    scope: flags.rotateScope,
    steps: flags.rotateSteps,
    learningRate: flags.rotateLearningRate,
    blockSize: flags.rotateBlockSize,
    objective: flags.rotateObjective,
    loss: flags.rotateLoss,
    scoreDamping: flags.rotateScoreDamping,
  };
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  if (flags.rotate || fromFile) return { ...fromFile, ...Object.fromEntries(set) };
  if (set.length === 0) return undefined;
  throw new PenjingError("--rotate", "its options were given without it; add --rotate denoise.");
}

async function readRecipeFile(path: string): Promise<Partial<Recipe>> {
  const text = await readTextFile(path);
  let parsed: unknown;
  try {
    parsed = parseYaml(text, { maxAliasCount: 100 });
  } catch (cause) {
    const reason = (cause as Error).message.split("\n")[0].replace(/:$/, "");
    throw new PenjingError(path, `it is neither YAML nor JSON (${reason}); mend it there.`, {
      cause,
    });
  }
  readRecipe(parsed, path);
  return parsed as Partial<Recipe>;
}

async function run(model: string, flags: CompressFlags, signal: AbortSignal): Promise<void> {
  const { budget, force, out, work: folder } = flags;
  const backend = backendOf(flags);
  const recipe = await readRecipeFlags(flags);
  const calibration = await readTextFile(flags.calibration);
  const text = flags.eval ? await readTextFile(flags.eval) : undefined;
  for (const input of [flags.calibration, flags.recipe, flags.eval]) {
    if (input) await refuseOverlap(out, input);
  }
  const score = (path: string, title: string) =>
    text === undefined
      ? undefined
      : scoreText({ model: path, text, window: flags.window, ...backend, signal }, title, flags);
  const options = { model, out, calibration, recipe, force, budget, work: folder, signal };
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
        progress?.line(`note: ${event.where}: ${event.message}`);
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
  process.stderr.write(`what is done so far is kept in ${folder}; ${first}${command} goes on\n`);
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
