import { type Command, Help, type Option } from "commander";

/** What holds where an option is not given: stands in every line of every help. */
function withDefault(option: Option, text: string): string {
  if (/default: /.test(text) || ["--help", "--version"].includes(option.long ?? "")) return text;
  if (option.mandatory) return `${text} (required)`;
  const isFlag = !option.required && !option.optional;
  return isFlag ? `${text} (default: off)` : text;
}

/** Lets the program's help, and that of commands added later, tell the default of each option. */
export function tellDefaults(program: Command): Command {
  return program.configureHelp({
    optionDescription: (option) =>
      withDefault(option, Help.prototype.optionDescription.call(new Help(), option)),
  });
}

/** Lets each command's usage errors point at its own help. */
export function pointAtHelp(program: Command): void {
  program.showHelpAfterError("(penjing --help lists the commands)");
  for (const command of program.commands) {
    command.showHelpAfterError(`(penjing ${command.name()} --help lists its options)`);
  }
}
