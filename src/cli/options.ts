import { type Command, InvalidArgumentError, Option } from "commander";
import type { BackendOptions } from "../backends/lease.js";
import { SIMDS } from "../backends/wasm/module.js";
import type { GgufOptions } from "../export/gguf-options.js";
import type { Activations } from "../forms/integer.js";
import { layouts } from "../layouts/index.js";
import { BOS_MODES } from "../models/bos.js";
import type { KvCache } from "../models/layers/key-value-cache.js";

/** What --layout takes, for the help. */
export const LAYOUT_NAMES = Object.keys(layouts).join(", ");

/** Options that every command has. */
export function withCommonOptions(command: Command): Command {
  return withJson(withPlugins(command))
    .option("--backend <name>", "auto, webgpu, wasm or reference", "auto")
    .option(
      "--threads <n>",
      "threads of the wasm backend, or auto: one for each core",
      threads,
      "auto",
    )
    .addOption(
      new Option("--simd <mode>", "of wasm; baseline gives the same bytes on every machine")
        .choices(["auto", ...SIMDS])
        .default("auto"),
    )
    .option("--quiet", "no progress, no notes")
    .option("--verbose", "print stack traces of errors")
    .option("--explain", "print which backend served each operation");
}

/** Adds --json, and --json=lines, to a command that does long work. */
export function withJson(command: Command): Command {
  // Given as --json=lines, which is made these two: a flag with an optional value would take a path for it.
  return command
    .option(
      "--json",
      "print one JSON document instead of text; --json=lines prints every event as it comes, an object in each line",
    )
    .addOption(new Option(JSON_LINES).hideHelp());
}

const JSON_LINES = "--json-lines";

/** The command line with --json=lines as the flags that the commands know. */
export function spellJsonLines(args: readonly string[]): string[] {
  // These two do no long work.
  if (["methods", "report"].includes(args[2])) return [...args];
  const end = args.indexOf("--");
  return args.flatMap((arg, i) =>
    arg === "--json=lines" && (end < 0 || i < end) ? ["--json", JSON_LINES] : [arg],
  );
}

/** The flag that names plug-ins. */
export interface PluginFlags {
  readonly plugin?: readonly string[];
}

/** Adds that flag. */
export function withPlugins(command: Command): Command {
  return command.option(
    "--plugin <file>",
    "load a module whose default export is a plug-in or a list of them; repeatable (default: none)",
    collect,
  );
}

/** The flag that names another tokenizer. */
export interface TokenizerFlags {
  readonly tokenizer?: string;
}

/** Adds that flag. */
export function withTokenizerFlag(command: Command): Command {
  return command.option(
    "--tokenizer <folder>",
    "take tokenizer.json and what belongs to it from this folder (default: the model's own)",
  );
}

/** What `--spill` does, where it is planned too. */
export const SPILL =
  "keep the windows' activations in the work folder, and some pieces of 64 MiB at most in memory: the same bytes come out (default: all in memory)";

/** The flags that say how a GGUF file is written. */
export type GgufFlags = GgufOptions;

/** Adds those flags. */
export function withGgufFlags(command: Command): Command {
  return command
    .option(
      "--gguf-type <name>",
      "with --layout gguf, type of the linears: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, or the mixtures Q4_K_M and Q4_K_S (default: what keeps the codes of quantized ones, and their own)",
    )
    .option(
      "--gguf-embedding <name>",
      "type of embedding and head (default: what keeps their codes; Q6_K and most linears' type beside K types, Q8_0 beside other quantized linears)",
    )
    .option("--gguf-pre <name>", "llama.cpp's name of the pre-tokenizer (default: what fits)");
}

/** Those alone, of all of a command's flags. */
export function ggufOf({ ggufType, ggufEmbedding, ggufPre }: GgufFlags): GgufOptions {
  return { ggufType, ggufEmbedding, ggufPre };
}

/** The flags that say what to compute on. */
export type BackendFlags = Pick<BackendOptions, "backend" | "threads" | "simd"> & PluginFlags;

/** Those alone, of all of a command's flags. */
export function backendOf({ backend, threads, simd }: BackendFlags): BackendOptions {
  return { backend, threads, simd };
}

/** Parses --threads, whose range the backend checks. */
function threads(text: string): number | "auto" {
  return text === "auto" ? text : number(text);
}

/** Adds the flag that says whether a BOS token is put in front. */
export function withBosFlag(command: Command, of: string): Command {
  return command.addOption(
    new Option("--bos <when>", `a BOS token in front of ${of}`).choices(BOS_MODES).default("auto"),
  );
}

/** The flag that says how quantized weights are multiplied by. */
export interface ActivationsFlag {
  readonly activations: Activations;
}

/** Adds that flag. */
export function withActivationsFlag(command: Command, unasked: Activations): Command {
  return command.addOption(
    new Option(
      "--activations <kind>",
      "what quantized weights are multiplied by: int8, rounded as a runtime does, where the backend has kernels for the weights' grid, or float",
    )
      .choices(["int8", "float"])
      .default(unasked),
  );
}

/** The flag that says how keys and values are held. */
export interface KvCacheFlag {
  readonly kvCache: KvCache;
}

/** Adds that flag. */
export function withKvCacheFlag(command: Command): Command {
  return command.addOption(
    new Option(
      "--kv-cache <kind>",
      "how keys and values of the text so far are held: int8, in about a quarter of the memory, where the backend has kernels for it, or float",
    )
      .choices(["int8", "float"])
      .default("float"),
  );
}

/** Parses a number, as an argument parser of commander. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value)) throw new InvalidArgumentError("Give a number.");
  return value;
}

/** Parses a number of bytes, as an argument parser of commander. */
export function byteCount(text: string): number {
  const bytes = number(text);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new InvalidArgumentError("Give a whole number of bytes above 0, such as 2e9.");
}

/** Collects a repeatable option. */
export function collect(text: string, previous: readonly string[] = []): string[] {
  return [...previous, text];
}

/** Parses a time such as 90s, 30m or 2h into seconds. */
export function duration(text: string): number {
  const [, value, unit] = /^(\d+(?:\.\d+)?)(s|m|h)$/.exec(text) ?? [];
  const seconds = Number(value) * { s: 1, m: 60, h: 3600 }[unit as "s"];
  if (seconds > 0) return seconds;
  throw new InvalidArgumentError("Give a time above 0, such as 90s, 30m or 2h.");
}
