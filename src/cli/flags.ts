import type { Command } from "commander";
import type { PenjingError } from "../errors.js";

/** "blockSize" as a flag: "--block-size", after a prefix "--rotate-block-size". */
export function flagOf(option: string, prefix = ""): string {
  const dashed = (text: string) => text.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return `--${prefix && `${dashed(prefix)}-`}${dashed(option)}`;
}

/** Flags by the library's names of options; those of other names come first. */
const flags = new Map([
  ["shardBytes", "--shard-size"],
  ["plugins", "--plugin"],
  ["cacheDir", "--cache"],
  ["files", "--data"],
]);

/** Learns which options the commands have flags for. */
export function learnFlags(program: Command): void {
  for (const { options } of program.commands) {
    for (const option of options) flags.set(option.attributeName(), option.long!);
  }
}

/** The library's message with its options, which stand in backticks, as flags. */
export function inFlags(message: string): string {
  return message.replace(/`(\w+)(?:: ([^`]+))?`/g, (_, option: string, value?: string) => {
    const flag = flags.get(option) ?? option;
    const isWhole = value === undefined || (value === "false" && flag.startsWith("--no-"));
    return isWhole ? flag : `${flag} ${value}`;
  });
}

/** The line for an error of the library. */
export function errorLine({ where, bare, message }: PenjingError): string {
  const place = message.slice(0, message.length - bare.length);
  const flag = flags.get(where);
  return (flag ? `[${flag}] ` : place) + inFlags(bare);
}

/** The line for a note of the library. */
export function noteLine(note: { readonly where: string; readonly message: string }): string {
  return `note: ${note.where}: ${inFlags(note.message)}`;
}
