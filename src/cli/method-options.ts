import type { Command } from "commander";
import type { OptionSpec } from "../method.js";
import { type AnyMethod, methods } from "../methods/index.js";
import { number } from "./options.js";

/** "blockSize" as a flag: "--block-size". */
function flagOf(option: string): string {
  return `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Every option of any method, and the methods that have it. */
function optionOwners(): Map<string, string[]> {
  const owners = new Map<string, string[]>();
  for (const { name, options } of Object.values(methods)) {
    for (const option of Object.keys(options)) {
      owners.set(option, [...(owners.get(option) ?? []), name]);
    }
  }
  return owners;
}

/** Adds a flag for every option that any method has; `describeMethods` lists them by method. */
export function withMethodOptions(command: Command): Command {
  for (const [name, owners] of optionOwners()) {
    command.option(`${flagOf(name)} <n>`, `of ${owners.join(", ")}: see below`, number);
  }
  return command;
}

/** The method options among parsed flags. */
export function methodOptionsOf(flags: object): Record<string, number> {
  const names = optionOwners();
  return Object.fromEntries(Object.entries(flags).filter(([name]) => names.has(name)));
}

/** A method's line and one for each of its options, with the default. */
function describeMethod({ name, summary, options }: AnyMethod): string {
  const lines = Object.entries<OptionSpec>(options).map(
    ([option, spec]) =>
      `    ${`${flagOf(option)} <n>`.padEnd(24)} ${spec.description} (default: ${spec.default})`,
  );
  return [`  ${name.padEnd(10)} ${summary}`, ...lines].join("\n");
}

export function describeMethods(): string {
  return Object.values(methods).map(describeMethod).join("\n");
}
