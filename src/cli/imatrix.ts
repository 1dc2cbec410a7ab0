import type { Command } from "commander";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { WINDOW_SETTINGS, type WindowSettings } from "../importance-matrix/settings.js";
import { type ImportanceMatrixResult, importanceMatrix } from "../importance-matrix.js";
import type { BosMode } from "../models/bos.js";
import { pick } from "../options.js";
import { refuseOverlap } from "../platform/overlap.js";
import {
  duration,
  openProgress,
  type PrintOptions,
  print,
  printJson,
  size,
  told,
} from "./console.js";
import { EndedEarly } from "./ending.js";
import { explainServed } from "./explain.js";
import { noteLine } from "./flags.js";
import { type HubFlags, MODEL_HELP, onModel, withHubFlags } from "./hub.js";
import { type MemoryFlags, maxMemoryOf, withMemoryFlag } from "./memory.js";
import {
  type BackendFlags,
  backendOf,
  type TokenizerFlags,
  withBosFlag,
  withCommonOptions,
  withTokenizerFlag,
} from "./options.js";
import { loadPlugins } from "./plugins.js";
import { withOptionFlags } from "./recipe-flags.js";
import { isStdin, readTexts, TEXT_COLUMN, TEXT_FILES } from "./text.js";

interface ImatrixFlags
  extends PrintOptions,
    BackendFlags,
    TokenizerFlags,
    HubFlags,
    MemoryFlags,
    Partial<WindowSettings> {
  readonly calibration: string;
  readonly textColumn?: string;
  readonly out: string;
  readonly bos: BosMode;
  readonly force?: boolean;
}

const EXAMPLES = `
Examples:
  $ penjing imatrix llama/ --calibration text.txt --out imatrix.gguf
  $ penjing export llama/ --layout gguf --gguf-type Q4_K_M --imatrix imatrix.gguf --out llama.gguf
  $ penjing imatrix model-BF16.gguf --calibration text.txt --samples 512 --length 512 --out imatrix.gguf
  $ llama-quantize --imatrix imatrix.gguf model-BF16.gguf IQ3_S
`;

export function addImatrix(program: Command, signal: AbortSignal): void {
  const command = withOptionFlags(
    program
      .command("imatrix")
      .description("measure what errors in each input of a model weigh, for K types of GGUF")
      .argument("<model>", MODEL_HELP)
      .requiredOption(
        "--calibration <file>",
        `what runs through the model: ${TEXT_FILES}, or - for standard input`,
      )
      .requiredOption("--out <file>", "file to write, whose name ends in .gguf")
      .option("--text-column <name>", TEXT_COLUMN)
      .option("--force", "replace the output when it exists"),
    WINDOW_SETTINGS,
  );
  const asked = withBosFlag(command, "each window (auto: for families that need it)");
  withHubFlags(withCommonOptions(withTokenizerFlag(withMemoryFlag(asked))))
    .addHelpText("after", EXAMPLES)
    .action((name: string, flags: ImatrixFlags) => run(name, flags, signal));
}

async function run(name: string, flags: ImatrixFlags, signal: AbortSignal): Promise<void> {
  const { out, quiet, textColumn: column, tokenizer } = flags;
  const plugins = await loadPlugins(flags);
  const asked = { reader: "--calibration", column, signal, quiet };
  const calibration = await readTexts(flags.calibration, asked);
  for (const input of [flags.calibration, tokenizer]) {
    if (input !== undefined && !isStdin(input)) await refuseOverlap(out, input);
  }
  const { bos, force } = flags;
  const dataset = isStdin(flags.calibration) ? "standard input" : flags.calibration;
  const maxMemory = await maxMemoryOf(flags);
  const given = { out, calibration, dataset, bos, force, tokenizer, plugins, maxMemory };
  const settings = pick(flags, Object.keys(WINDOW_SETTINGS)) as Partial<WindowSettings>;
  // Only now: a model on the hub may be a long download.
  const result = await onModel(name, flags, signal, (model) =>
    follow(model, { ...given, ...settings, ...backendOf(flags), signal }, flags),
  );
  if (flags.json) printJson({ model: name, out, ...result }, flags);
  else printResult(out, result, flags);
}

async function follow(
  model: string | Checkpoint,
  options: Omit<Parameters<typeof importanceMatrix>[0], "model">,
  print: PrintOptions,
): Promise<ImportanceMatrixResult> {
  const progress = openProgress("imatrix", print);
  const work = importanceMatrix({ ...options, model });
  try {
    for await (const event of told("imatrix", work, print)) {
      if (event.type === "note") progress.line(noteLine(event));
      else if (event.type === "progress") {
        progress.update(event.fraction, `block ${event.block + 1} of ${event.blocks}`);
      }
    }
  } catch (error) {
    throw options.signal?.aborted ? new EndedEarly(error, "nothing was written") : error;
  } finally {
    progress.stop();
  }
  return work.result();
}

function printResult(
  out: string,
  { entries, samples, length, bytes, seconds, served }: ImportanceMatrixResult,
  { explain }: PrintOptions,
): void {
  print(`entries      ${entries} linears`);
  print(`tokens       ${samples * length}, ${samples} windows of ${length}`);
  print(`bytes        ${size(bytes)}`);
  print(`written to   ${out} in ${duration(seconds)}`);
  if (explain) print(`\n${explainServed(served)}`);
}
