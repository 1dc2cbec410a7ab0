import { Command, CommanderError } from "commander";
import { addCompress } from "./cli/compress.js";
import { addDoctor } from "./cli/doctor.js";
import { addDownload } from "./cli/download.js";
import { clearLine, tellError, tellStopped } from "./cli/ending.js";
import { addEvaluate } from "./cli/evaluate.js";
import { addExport } from "./cli/export.js";
import { learnFlags } from "./cli/flags.js";
import { addGenerate } from "./cli/generate.js";
import { pointAtHelp, tellDefaults } from "./cli/help.js";
import { addImatrix } from "./cli/imatrix.js";
import { addInspect } from "./cli/inspect.js";
import { addMethods } from "./cli/methods.js";
import { spellJsonLines } from "./cli/options.js";
import { addPlan } from "./cli/plan.js";
import { addReport } from "./cli/report.js";
import { fileError } from "./platform/file-errors.js";
import { VERSION } from "./version.js";

/** What the process ends with. */
const EXIT = { failure: 1, usage: 2, hungUp: 129, interrupted: 130, terminated: 143 } as const;

/** Waits so long for the work to stop by itself before it is ended. */
const GRACE_MS = 10_000;
/** Signals that follow within this time are one press of Ctrl-C. */
const SAME_PRESS_MS = 150;
/** On a terminal, stopping says so when it takes longer. */
const SILENCE_MS = 500;

/** After the end, waits so long for a GPU, which may have seconds of work that nobody needs. */
const GPU_MS = 100;

const abort = new AbortController();
/** The first signal that came. */
let stopped:
  | { readonly by: NodeJS.Signals; readonly code: number; readonly at: number }
  | undefined;

for (const [signal, code] of [
  ["SIGHUP", EXIT.hungUp],
  ["SIGINT", EXIT.interrupted],
  ["SIGTERM", EXIT.terminated],
] as const) {
  process.on(signal, () => {
    const end = () => {
      tellStopped();
      dieOf(signal);
    };
    // A second Ctrl-C does not wait for the clean-up. One press may come twice: from the terminal, and
    // from a program such as npx that passes it on.
    if (stopped) {
      if (performance.now() - stopped.at > SAME_PRESS_MS) end();
      return;
    }
    stopped = { by: signal, code, at: performance.now() };
    abort.abort(new DOMException("interrupted", "AbortError"));
    setTimeout(end, GRACE_MS).unref();
    setTimeout(() => {
      clearLine();
      if (process.stderr.isTTY) process.stderr.write("stopping ...");
    }, SILENCE_MS).unref();
  });
}

/** Ends the process at once, as the signal does by itself: a driver's threads may not survive an exit. */
function dieOf(signal: NodeJS.Signals): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // A reader that went away, as `head` does, ends the printing quietly.
  if (error.code === "EPIPE") process.exit(0);
  tellError(fileError("standard output", "writing", error), false);
  process.exit(EXIT.failure);
});
/** Nobody reads the progress any more; the work itself goes on. */
process.stderr.on("error", () => {});

function report(error: unknown, verbose: boolean): number {
  if (stopped) {
    tellStopped(error);
    return stopped.code;
  }
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
  tellError(error, verbose);
  return EXIT.failure;
}

const program = tellDefaults(new Command("penjing"))
  .description("Prune, pack, measure and run large language models.")
  .version(VERSION)
  .exitOverride();
const commands = [
  ...[addCompress, addDoctor, addDownload, addEvaluate, addExport, addGenerate, addImatrix],
  ...[addInspect, addMethods, addPlan, addReport],
];
for (const add of commands) add(program, abort.signal);
for (const command of program.commands) command.exitOverride();
pointAtHelp(program);
learnFlags(program);

try {
  await program.parseAsync(spellJsonLines(process.argv));
} catch (error) {
  process.exitCode = report(error, process.argv.includes("--verbose"));
  if (stopped) setTimeout(dieOf, GPU_MS, stopped.by).unref();
}
