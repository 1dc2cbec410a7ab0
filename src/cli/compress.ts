import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Command, Option } from "commander";
import { CAST_DTYPES, type CastDType } from "../checkpoint/cast.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { openCompressRegistry } from "../compress/registry.js";
import { type CompressResult, compress } from "../compress.js";
import { PenjingError } from "../errors.js";
import { GGUF } from "../export/gguf-options.js";
import type { BosMode } from "../models/bos.js";
import { partialPath } from "../platform/disk.js";
import { refuseOverlap } from "../platform/overlap.js";
import { report } from "../report.js";
import { type Compared, compared } from "./compared.js";
import {
  duration as durationText,
  openProgress,
  type PrintOptions,
  type Progress,
  print,
  printJson,
  size,
  table,
  told,
} from "./console.js";
import { EndedEarly } from "./ending.js";
import { bitsText, LOW_MEMORY } from "./evaluate.js";
import { explainServed } from "./explain.js";
import { flagOf, noteLine } from "./flags.js";
import { type HubFlags, MODEL_HELP, onModel, withHubFlags } from "./hub.js";
import { type MemoryFlags, maxMemoryOf, withMemoryFlag } from "./memory.js";
import {
  type BackendFlags,
  backendOf,
  byteCount,
  duration,
  type GgufFlags,
  ggufOf,
  number,
  SPILL,
  type TokenizerFlags,
  withBosFlag,
  withCommonOptions,
  withGgufFlags,
  withTokenizerFlag,
} from "./options.js";
import { peerText } from "./peer.js";
import { loadPlugins } from "./plugins.js";
import {
  describeSteps,
  type RecipeFlags,
  readRecipeFlags,
  withRecipeFlags,
} from "./recipe-flags.js";
import { addEvaluation, checkPage, writePage } from "./report-file.js";
import { isStdin, readTexts, TEXT_COLUMN, TEXT_FILES } from "./text.js";

type CompressFlags = PrintOptions &
  BackendFlags &
  TokenizerFlags &
  HubFlags &
  GgufFlags &
  MemoryFlags &
  RecipeFlags & {
    readonly dtype?: CastDType;
    readonly calibration?: string;
    readonly textColumn?: string;
    readonly out: string;
    readonly eval?: string;
    readonly window?: number;
    readonly lowMemory?: boolean;
    readonly ggufRecord: boolean;
    readonly bos: BosMode;
    readonly shardSize?: number;
    readonly budget?: number;
    readonly report?: string;
    readonly work?: string;
    readonly spill?: boolean;
    readonly force?: boolean;
  };

const EXAMPLES = `
Examples:
  $ penjing compress llama/ --calibration text.txt --out llama-24/
  $ penjing compress llama/ --method wanda --sparsity 50% --calibration text.txt --out out/
  $ penjing compress llama/ --calibration text.txt --out out/ --layout two-four --eval wiki.test.raw
  $ penjing compress llama/ --method magnitude --out out/
  $ penjing compress llama/ --method gptq --bits 4 --group-size 32 --calibration text.txt --out out/
  $ penjing compress llama/ --method gptq --calibration text.txt --layout gguf --out llama-Q4_0.gguf
  $ penjing compress model-Q4_K_M.gguf --calibration text.txt --out out/ --dtype f16
  $ penjing compress HuggingFaceTB/SmolLM2-135M --calibration text.txt --out out/
  $ zcat text.gz | penjing compress llama/ --calibration - --out out/
  $ penjing compress llama/ --recipe recipe.yaml --calibration text.txt --out out/
  $ penjing compress llama/ --step 'rotate: { scope: shared }' \\
      --step 'prune: { method: wanda, sparsity: "2:4" }' --calibration text.txt --out out/

${describeSteps()}
`;

export function addCompress(program: Command, signal: AbortSignal): void {
  const command = withRecipeFlags(
    program
      .command("compress")
      .description(
        "prune or quantize a model folder and write the result as a new folder, or as GGUF",
      )
      .argument("<model>", MODEL_HELP)
      .option(
        "--calibration <file>",
        `what the model is calibrated on: ${TEXT_FILES}, or - for standard input (default: none, which will do for methods that read no inputs, such as magnitude)`,
      )
      .requiredOption("--out <path>", "folder to write; with --layout gguf, the file"),
  )
    .option("--text-column <name>", TEXT_COLUMN)
    .option(
      "--budget <time>",
      "time for the run, such as 90s, 30m or 2h (default: no limit)",
      duration,
    )
    .option("--work <folder>", "keep unfinished work there (default: OUT.partial)")
    .option("--spill", SPILL)
    .option(
      "--eval <file>",
      "measure perplexity on this text or dataset before and after, and how far the two models are apart; - for standard input (default: none)",
    )
    .option(
      "--window <n>",
      "tokens in each window of --eval (default: the model's context, at most 2048)",
      number,
    )
    .option(
      "--report <file>",
      "draw what was done as one web page, as `penjing report` does (default: none)",
    )
    .option("--low-memory", `for --eval: ${LOW_MEMORY}`)
    .addOption(
      new Option(
        "--dtype <dtype>",
        "of all floats of the output (default: as the model stores them; of a GGUF file bf16)",
      ).choices(CAST_DTYPES),
    )
    .option(
      "--shard-size <bytes>",
      "begin a new weights file after this many bytes (default: 5e9)",
      byteCount,
    )
    .option("--no-gguf-record", "leave out of a GGUF file the text that says what made it")
    .option("--force", "replace the output (and the report) when it exists, and begin anew");
  const asked = withBosFlag(command, "each window (auto: for families that need it)");
  withHubFlags(withCommonOptions(withGgufFlags(withTokenizerFlag(withMemoryFlag(asked)))))
    .addHelpText("after", EXAMPLES)
    .action((name: string, flags: CompressFlags) => run(name, flags, signal));
}

/** What the flags name besides the model, read. */
interface Inputs {
  readonly name: string;
  readonly flags: CompressFlags;
  readonly plugins: Awaited<ReturnType<typeof loadPlugins>>;
  readonly recipe: Awaited<ReturnType<typeof readRecipeFlags>>;
  readonly calibration: Awaited<ReturnType<typeof readTexts>> | undefined;
  /** To score before and after. */
  readonly text: Awaited<ReturnType<typeof readTexts>> | undefined;
}

async function run(name: string, flags: CompressFlags, signal: AbortSignal): Promise<void> {
  const { out, quiet, textColumn: column, tokenizer } = flags;
  refuseStray(flags);
  const plugins = await loadPlugins(flags);
  const registry = openCompressRegistry(plugins);
  const recipe = await readRecipeFlags(flags, registry, signal);
  const read = async (path: string | undefined, reader: string) =>
    path === undefined ? undefined : readTexts(path, { reader, column, signal, quiet });
  const calibration = await read(flags.calibration, "--calibration");
  const text = await read(flags.eval, "--eval");
  for (const input of [flags.calibration, flags.recipe, flags.eval, tokenizer]) {
    if (input !== undefined && !isStdin(input)) await refuseOverlap(out, input);
  }
  await checkReport(flags, recipe.layout);
  // Only now: a model on the hub may be a long download.
  const inputs = { name, flags, plugins, recipe, calibration, text };
  await onModel(name, flags, signal, (model) => runOn(model, inputs, signal));
}

/** @throws PenjingError when a report is asked for that cannot be drawn, or not be written there */
async function checkReport(flags: CompressFlags, layout: string | undefined): Promise<void> {
  const { report, force } = flags;
  if (report === undefined) return;
  if (layout === GGUF) {
    throw new PenjingError(
      "--report",
      "a GGUF file has no penjing-report.json beside it, from which it is drawn; choose another layout, or leave it out.",
    );
  }
  for (const input of [flags.calibration, flags.recipe, flags.eval]) {
    if (input !== undefined && !isStdin(input)) await refuseOverlap(report, input);
  }
  await checkPage(report, { force });
}

/** @throws PenjingError for flags of a measurement that is not asked for */
function refuseStray(flags: CompressFlags): void {
  if (flags.eval !== undefined) return;
  for (const name of ["window", "lowMemory"] as const) {
    if (flags[name] === undefined) continue;
    throw new PenjingError(
      flagOf(name),
      "it is about the text of --eval, and none is given; give --eval too, or leave it out.",
    );
  }
}

async function runOn(
  model: string | Checkpoint,
  { name, flags, plugins, recipe, calibration, text }: Inputs,
  signal: AbortSignal,
): Promise<void> {
  const begun = performance.now();
  const { bos, budget, dtype, force, out, spill, tokenizer, work: folder } = flags;
  const backend = backendOf(flags);
  const maxMemory = await maxMemoryOf(flags);
  // What an earlier run left takes disk already, and goes on.
  const isBegun = (await whatIsKept(flags)) !== undefined;
  if (!isBegun || maxMemory !== undefined) {
    const { refuseTooLarge } = await import("../compress/plan/foresee.js");
    await refuseTooLarge({
      ...{ model, out, work: folder, recipe, dtype, spill, plugins, maxMemory, signal },
      hasText: calibration !== undefined,
      ...{ isOnWasm: backend.backend === "wasm", threads: backend.threads, looksAtDisk: !isBegun },
    });
  }
  const { window, lowMemory } = flags;
  // The flag is there, and true, unless it is given.
  const ggufRecord = flags.ggufRecord ? undefined : false;
  const place = { out, force, work: folder, spill };
  const inputs = { model, ...place, calibration, bos, recipe, budget, ggufRecord };
  const options = { ...inputs, ...ggufOf(flags), dtype, tokenizer, plugins, signal };
  const evaluate = text === undefined ? undefined : { text, window };
  const work = compress({ ...options, ...backend, evaluate, shardBytes: flags.shardSize });
  let progress: Progress | undefined;
  try {
    for await (const event of told("compress", work, flags)) {
      if (event.type === "start") {
        progress = openProgress("compress", flags);
      } else if (event.type === "progress") {
        const { phase, fraction, secondsLeft } = event;
        const what = phase === "write" ? "writing" : `${blockText(event)}, ${phase}`;
        progress?.update(fraction, what, { secondsLeft });
      } else if (event.type === "note") {
        progress?.line(noteLine(event));
      }
    }
  } catch (error) {
    progress?.stop();
    const left = progress || signal.aborted ? await whatIsKept(flags) : undefined;
    const cause = ofEval(error);
    throw left || signal.aborted ? new EndedEarly(cause, left ?? "nothing was written") : cause;
  }
  progress?.stop();
  const { evaluation, ...result } = await work.result();
  let scores: Compared | undefined;
  try {
    if (text !== undefined) {
      const asked = { text, window, bos, tokenizer, plugins, lowMemory, maxMemory, signal };
      const both = { model: pathOf(out, result), against: model };
      scores = await compared(evaluation, { ...asked, ...backend, ...both }, flags);
    }
  } catch (error) {
    throw new EndedEarly(
      ofEval(error),
      `the model at ${out} is complete, but its perplexity is not known; penjing eval ${out} --against ${name} --text ${flags.eval} measures it`,
    );
  }
  try {
    if (scores && !result.files) await addEvaluation(out, scores);
    if (flags.report !== undefined) {
      const { html } = await report({ folders: [out] });
      await writePage(flags.report, html, { force });
    }
  } catch (error) {
    throw new EndedEarly(error, `the model at ${out} is complete, but its report is not`);
  }
  const seconds = (performance.now() - begun) / 1000;
  if (flags.json) {
    const { before, after } = scores ?? {};
    printJson({ model: name, out, ...result, seconds, before, after }, flags);
  } else printResult(out, result, scores, seconds, flags);
}

/** Where what was written is: of a GGUF file in parts the first of them. */
function pathOf(out: string, { files }: CompressResult): string {
  return files ? join(dirname(out), files[0]) : out;
}

/** An error of the text to score, which has another name here. */
function ofEval(error: unknown): unknown {
  if (!(error instanceof PenjingError) || error.where !== "text") return error;
  return new PenjingError("eval", error.bare, { cause: error });
}

function blockText({ block, blocks }: { readonly block: number; readonly blocks: number }): string {
  return `block ${block + 1} of ${blocks}`;
}

/** Where the work of a run that ended too early is kept; undefined when none is. */
async function whatIsKept({ work, out, force }: CompressFlags): Promise<string | undefined> {
  const isThere = (path: string) => stat(path).catch(() => undefined);
  const folder = work ?? (await partialPath(out));
  if (!(await isThere(folder))) return undefined;
  // --force would begin anew, and without it an output that is there is not replaced.
  const first = force && !work && (await isThere(out)) ? `once ${out} is moved away, ` : "";
  const command = force && !work ? "the same command without --force" : "the same command";
  return `what is done so far is kept in ${folder}; ${first}${command} goes on`;
}

/** What was done to how many layers. */
function layersText(
  layers: CompressResult["layers"],
  { removed }: CompressResult["totals"],
): { readonly lines: readonly string[]; readonly done: string } {
  const quantized = layers.filter(({ bitsPerWeight }) => bitsPerWeight !== undefined);
  const pruned = layers.filter((one) => one.bitsPerWeight === undefined || one.removed > 0);
  const lines: string[] = [];
  if (layers.length === 0) lines.push("none replaced");
  if (pruned.length > 0) {
    const share = (removed * 100).toFixed(1);
    const whose = quantized.length > 0 ? "the weights of all these layers" : "their weights";
    lines.push(`${pruned.length} pruned, ${share}% of ${whose} removed`);
  }
  if (quantized.length > 0) {
    const sizes = quantized.map(({ shape: [rows, cols] }) => rows * cols);
    const bits = quantized.reduce((sum, one, i) => sum + one.bitsPerWeight! * sizes[i], 0);
    const mean = bits / sizes.reduce((sum, one) => sum + one, 0);
    lines.push(`${quantized.length} quantized, to ${mean.toFixed(2)} bits a weight`);
    const peers = new Set(quantized.flatMap(({ peer }) => (peer ? [peerText(peer)] : [])));
    lines.push(...peers);
  }
  const done = quantized.length === 0 ? "pruned" : pruned.length === 0 ? "quantized" : "these";
  return { lines, done };
}

function printResult(
  out: string,
  { layers, totals, served, files = [] }: CompressResult,
  scores: Compared | undefined,
  seconds: number,
  { explain, quiet, report: page }: CompressFlags,
): void {
  if (!quiet) {
    const hasBits = layers.some(({ bitsPerWeight }) => bitsPerWeight !== undefined);
    const rows = layers.map(({ name, method, sparsity, removed, bitsPerWeight, layerError }) => [
      name,
      method,
      sparsity,
      `${(removed * 100).toFixed(1)}%`,
      ...(hasBits ? [bitsPerWeight?.toFixed(2) ?? "-"] : []),
      layerError === undefined ? "-" : layerError.toPrecision(3),
    ]);
    const bits = hasBits ? ["bits per weight"] : [];
    print(table([["layer", "method", "sparsity", "removed", ...bits, "layer error"], ...rows]));
    print("");
  }
  const what = layersText(layers, totals);
  for (const line of what.lines) print(`layers       ${line}`);
  print(
    `bytes        ${size(totals.bytesBefore)} -> ${size(totals.bytesAfter)} (${what.done} layers: ${size(totals.layerBytesBefore)} -> ${size(totals.layerBytesAfter)})`,
  );
  if (scores) {
    const { before, after } = scores;
    print(
      `perplexity   ${before.perplexity.toFixed(3)} -> ${after.perplexity.toFixed(3)} (${after.windows} windows of ${after.window} tokens)`,
    );
    const { kl, agreement } = after.against!;
    print(
      `beside it    KL ${kl.toPrecision(3)} nats a token, ${(100 * agreement).toFixed(1)}% of the likeliest tokens are the same`,
    );
    print(`bits         ${bitsText(after)}`);
  }
  if (files.length > 1) print(`files        ${files[0]} and ${files.length - 1} more`);
  const apart = scores?.seconds;
  const measured = apart ? `, of which ${durationText(apart)} for the perplexity` : "";
  print(`written to   ${out} in ${durationText(seconds)}${measured}`);
  if (page !== undefined) print(`report       ${page}`);
  if (explain) print(`\n${explainServed(served)}`);
}
