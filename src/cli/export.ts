import type { Command } from "commander";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { type ExportResult, exportModel } from "../export.js";
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
import {
  type BackendFlags,
  backendOf,
  byteCount,
  type GgufFlags,
  ggufOf,
  LAYOUT_NAMES,
  withCommonOptions,
  withGgufFlags,
} from "./options.js";
import { loadPlugins } from "./plugins.js";

interface ExportFlags extends PrintOptions, BackendFlags, HubFlags, GgufFlags {
  readonly out: string;
  readonly layout?: string;
  readonly reconstruct?: boolean;
  readonly force?: boolean;
  readonly shardSize?: number;
  readonly imatrix?: string;
}

const EXAMPLES = `
Examples:
  $ penjing export llama-24/ --layout two-four --out packed/
  $ penjing export packed/ --layout dense --out llama-24/
  $ penjing export llama-24/ --layout cutlass+pad --out for-pytorch/
  $ penjing export llama-armor/ --reconstruct --out plain/
  $ penjing export llama-24/ --layout gguf --gguf-type Q8_0 --out llama-24.gguf
  $ penjing export llama/ --layout gguf --gguf-type Q4_K_M --imatrix imatrix.gguf --out llama.gguf
`;

export function addExport(program: Command, signal: AbortSignal): void {
  const command = withCommonOptions(
    program
      .command("export")
      .description("rewrite a model folder in another layout, as a plain checkpoint, or as GGUF")
      .argument("<model>", `${MODEL_HELP}, compressed or not`)
      .requiredOption("--out <path>", "folder to write; with --layout gguf, the file")
      .option("--layout <name>", `${LAYOUT_NAMES} or gguf (default: as it is stored)`)
      .option("--reconstruct", "multiply factors and rotations out, for other programs to read")
      .option("--force", "replace the output when it exists")
      .option(
        "--shard-size <bytes>",
        "begin a new weights file after this many bytes (default: 5e9)",
        byteCount,
      )
      .option(
        "--imatrix <file>",
        "importance matrix for K types: what an error in each input of a linear weighs, as `penjing imatrix` or llama-imatrix writes it (default: none)",
      ),
  );
  withHubFlags(withGgufFlags(command))
    .addHelpText("after", EXAMPLES)
    .action((name: string, flags: ExportFlags) =>
      onModel(name, flags, signal, (model) => run(model, name, flags, signal)),
    );
}

async function run(
  model: string | Checkpoint,
  name: string,
  flags: ExportFlags,
  signal: AbortSignal,
): Promise<void> {
  const { out, layout, reconstruct, force, imatrix, shardSize: shardBytes } = flags;
  const plugins = await loadPlugins(flags);
  const options = { model, out, layout, reconstruct, force, imatrix, shardBytes, signal };
  const work = exportModel({ ...options, plugins, ...ggufOf(flags), ...backendOf(flags) });
  const progress = openProgress("export", flags);
  try {
    for await (const event of told("export", work, flags)) {
      if (event.type === "note") progress.line(noteLine(event));
      else progress.update(event.fraction, `${event.phase} ${event.name}`);
    }
  } catch (error) {
    progress.stop();
    throw signal.aborted ? new EndedEarly(error, "nothing was written") : error;
  }
  progress.stop();
  const result = await work.result();
  if (flags.json) printJson({ model: name, out, ...result }, flags);
  else printResult(out, result, flags);
}

function printResult(out: string, result: ExportResult, { explain }: PrintOptions): void {
  const { layoutBefore, layoutAfter, packed, reconstructed, files = [] } = result;
  print(`layout       ${layoutBefore} -> ${layoutAfter}`);
  const what = files.length > 0 ? "quantized  " : "packed     ";
  if (packed > 0) print(`${what}  ${packed} weights`);
  if (reconstructed > 0) print(`multiplied   ${reconstructed} weights, with factors and rotations`);
  print(`bytes        ${size(result.bytesBefore)} -> ${size(result.bytesAfter)}`);
  if (files.length > 1) print(`files        ${files[0]} and ${files.length - 1} more`);
  print(`written to   ${out} in ${duration(result.seconds)}`);
  if (explain) print(`\n${explainServed(result.served)}`);
}
