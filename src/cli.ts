import { Command, CommanderError } from "commander";
import { addCompress } from "./cli/compress.js";
import { printNote } from "./cli/console.js";
import { addEvaluate } from "./cli/evaluate.js";
import { addExport } from "./cli/export.js";
import { errorLine, learnFlags } from "./cli/flags.js";
import { addGenerate } from "./cli/generate.js";
import { addInspect } from "./cli/inspect.js";
import { LONGEST_MESSAGE, PenjingError } from "./errors.js";
import { fit, printableLines } from "./quote.js";
import { VERSION } from "./version.js";

/** What the process ends with. */
const EXIT = { failure: 1, usage: 2, hungUp: 129, interrupted: 130, terminated: 143 } as const;

/** Waits so long for the work to stop by itself before it is ended. */
const GRACE_MS = 10_000;

const abort = new AbortController();
let interruptedWith: number | undefined;

for (const [signal, code] of [
  ["SIGHUP", EXIT.hungUp],
  ["SIGINT", EXIT.interrupted],
  ["SIGTERM", EXIT.terminated],
] as const) {
  process.on(signal, () => {
    // A second Ctrl-C does not wait for the clean-up.
    if (interruptedWith !== undefined) process.exit(code);
    interruptedWith = code;
    process.stderr.write("\nstopping ...\n");
    abort.abort(new DOMException("interrupted", "AbortError"));
    setTimeout(() => process.exit(code), GRACE_MS).unref();
  });
}

/** A reader that went away, as `head` does, ends the printing quietly. */
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : EXIT.failure);
});
/** Nobody reads the progress any more; the work itself goes on. */
process.stderr.on("error", () => {});

function report(error: unknown, verbose: boolean): number {
  if (interruptedWith !== undefined) return interruptedWith;
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const expected = error instanceof PenjingError;
  const hint = expected || verbose ? "" : " (a fault of penjing itself; --verbose shows where)";
  const line = expected ? errorLine(error) : fit(message, LONGEST_MESSAGE);
  printNote(`penjing: ${line}${hint}`);
  if (verbose && stack) process.stderr.write(`${printableLines(stack)}\n`);
  return EXIT.failure;
}

const program = new Command("penjing")
  .description("Prune, pack, measure and run large language models.")
  .version(VERSION)
  .exitOverride()
  .showHelpAfterError("(penjing --help lists the commands and their options)");
for (const add of [addCompress, addEvaluate, addExport, addGenerate, addInspect])
  add(program, abort.signal);
for (const command of program.commands) command.exitOverride();
learnFlags(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error, process.argv.includes("--verbose"));
}
