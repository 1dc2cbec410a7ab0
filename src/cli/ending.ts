import { LONGEST_MESSAGE, PenjingError } from "../errors.js";
import { fit, printableLines } from "../quote.js";
import { printNote } from "./console.js";
import { errorLine } from "./flags.js";

/** Ends a command with what it leaves behind. */
export class EndedEarly extends Error {
  /** @param left such as "nothing was written", without a full stop */
  constructor(
    cause: unknown,
    readonly left: string,
  ) {
    super(left, { cause });
  }
}

/** Rewrites the line of a terminal at which the cursor stands, and shows the cursor. */
export function clearLine(): void {
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K\u001b[?25h");
}

/** Says that a signal ended the command, and what it leaves behind. */
export function tellStopped(error?: unknown): void {
  clearLine();
  const left = error instanceof EndedEarly ? `; ${error.left}` : "";
  printNote(`penjing: stopped${left}`);
}

/** Says what went wrong, and what is left behind. */
export function tellError(thrown: unknown, verbose: boolean): void {
  if (thrown instanceof EndedEarly) printNote(thrown.left);
  const cause = thrown instanceof EndedEarly ? thrown.cause : thrown;
  const error = cause instanceof Error ? cause : new Error(String(cause));
  const expected = error instanceof PenjingError;
  const hint = expected || verbose ? "" : " (a fault of penjing itself; --verbose shows where)";
  const line = expected ? errorLine(error) : fit(error.message, LONGEST_MESSAGE);
  printNote(`penjing: ${line}${hint}`);
  if (verbose && error.stack) process.stderr.write(`${printableLines(error.stack)}\n`);
}
