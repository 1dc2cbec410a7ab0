import { type Command, Option } from "commander";
import { WASM_BYTES } from "../backends/memory.js";
import { CAST_DTYPES, type CastDType } from "../checkpoint/cast.js";
import { openCompressRegistry } from "../compress/registry.js";
import { type Plan, plan } from "../plan.js";
import { printable } from "../quote.js";
import { duration, type PrintOptions, print, printJson, size } from "./console.js";
import { type HubFlags, MODEL_HELP, withRevisionFlags } from "./hub.js";
import { number, SPILL, withJson, withPlugins } from "./options.js";
import { loadPlugins } from "./plugins.js";
import { type RecipeFlags, readRecipeFlags, withRecipeFlags } from "./recipe-flags.js";

type PlanFlags = PrintOptions &
  HubFlags &
  RecipeFlags & {
    readonly dtype?: CastDType;
    readonly out?: string;
    readonly spill?: boolean;
    readonly threads?: number;
    readonly plugin?: readonly string[];
  };

const EXAMPLES = `
Examples:
  $ penjing plan llama/
  $ penjing plan llama/ --method wanda --samples 64 --length 2048
  $ penjing plan meta-llama/Llama-3.1-8B --rotate denoise --refit 10
  $ penjing plan llama/ --recipe recipe.yaml --out /mnt/large/out --json

It reads config.json and the headers of the weights, and takes what penjing compress takes of a recipe, and its --spill.
`;

export function addPlan(program: Command, signal: AbortSignal): void {
  const command = withRecipeFlags(
    program
      .command("plan")
      .description("tell the memory, the disk and the time that penjing compress would take")
      .argument("<model>", MODEL_HELP)
      .option("--out <path>", "where the output would go, whose disk is looked at (default: here)"),
  ).addOption(
    new Option(
      "--dtype <dtype>",
      "of all floats of the output (default: as the model stores them; of a GGUF file bf16)",
    ).choices(CAST_DTYPES),
  );
  withJson(withRevisionFlags(withPlugins(command)))
    .option("--spill", SPILL)
    .option(
      "--threads <n>",
      "threads of the kernels (default: one for each core, at most 8)",
      number,
    )
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action((model: string, flags: PlanFlags) => run(model, flags, signal));
}

async function run(model: string, flags: PlanFlags, signal: AbortSignal): Promise<void> {
  const plugins = await loadPlugins(flags);
  const recipe = await readRecipeFlags(flags, openCompressRegistry(plugins), signal);
  const { dtype, out, spill, threads, revision, offline } = flags;
  const hub = { revision, offline };
  const options = { recipe, dtype, out, spill, threads, plugins, hub, signal };
  const planned = await plan({ ...options, model });
  if (flags.json) printJson(planned, flags);
  else for (const [about, text] of linesOf(planned)) print(printable(`${about.padEnd(9)} ${text}`));
}

/** What is told of a plan, by what it is about. */
function linesOf({ model, tokens, memory, disk, machine, ...rest }: Plan): [string, string][] {
  const { phases, rate, seconds, fewer } = rest;
  const work = phases.reduce((sum, phase) => sum + phase.work, 0);
  const shares = phases
    .filter((phase) => phase.work > work / 200)
    .map((phase) => `${phase.phase} ${Math.round((100 * phase.work) / work)}%`);
  const perInput = tokens.count / tokens.widest;
  const few = perInput < 2 ? " (fewer than 2 x is too few)" : "";
  const parts = [
    `wasm ${size(memory.wasm)}${memory.wasm > WASM_BYTES ? `, of which it has ${size(WASM_BYTES)}: too much` : ""}`,
    ...(memory.second > 0 ? [`a second WebAssembly memory ${size(memory.second)}`] : []),
    `the windows' activations ${size(memory.streams)}`,
    `a finished block ${size(memory.block)}`,
  ];
  const lines: [string, string][] = [
    [
      "model",
      `${model.type}, ${model.blocks} blocks, ${(model.parameters / 1e6).toPrecision(4)} M parameters, ${size(model.bytes)}`,
    ],
    [
      "tokens",
      `${tokens.count}, ${perInput.toPrecision(3)} x the widest layer's ${tokens.widest} inputs${few}`,
    ],
    ["memory", `${size(memory.whole)}: ${parts.join("; ")}${free(machine.free)}`],
    [
      "disk",
      `${size(disk.out)} of tensors, and ${size(disk.work)} of work until they are written${free(machine.disk)}`,
    ],
    ["work", `${operations(2 * work)}: ${shares.join(", ")}`],
  ];
  if (rate !== undefined && seconds !== undefined) {
    const speed = `${((2 * rate) / 1e9).toPrecision(3)} GFLOP/s`;
    lines.push(["time", `${about(seconds)} here (${speed} in matrix products)`]);
  }
  if (fewer?.seconds !== undefined) {
    lines.push(["cheaper", `--samples ${fewer.samples}: ${about(fewer.seconds)}`]);
  }
  return lines;
}

/** Less than a second is told as no more than that. */
function about(seconds: number): string {
  return seconds < 1 ? duration(seconds) : `about ${duration(seconds)}`;
}

/** Floating-point operations, such as "18.4 TFLOP". */
function operations(count: number): string {
  const [divisor, unit] = count < 1e15 ? [1e12, "TFLOP"] : [1e15, "PFLOP"];
  return `${(count / divisor).toPrecision(3)} ${unit}`;
}

function free(bytes: number | undefined): string {
  return bytes === undefined ? "" : `; ${size(bytes)} free here`;
}
