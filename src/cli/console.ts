import { SingleBar } from "cli-progress";
import { fit, printable, printableLines } from "../quote.js";

export { bytesText as size } from "../bytes-text.js";

/** What every command understands about its own printing. */
export interface PrintOptions {
  /** One JSON document on standard output instead of text. */
  readonly json?: boolean;
  /** With it: one JSON object in each line, of every event as it comes, and at last of the result. */
  readonly jsonLines?: boolean;
  /** No progress and no notes. */
  readonly quiet?: boolean;
  /** Stack traces for errors. */
  readonly verbose?: boolean;
  /** Print which backend served each operation. */
  readonly explain?: boolean;
}

/** How fast work goes. */
export interface Pace {
  /** Such as "812 tokens/s". */
  readonly rate?: string | undefined;
  /** Seconds until the end; undefined where it is not known. @default by the share that is done */
  readonly secondsLeft?: number | undefined;
}

/** Follows long work on standard error. */
export interface Progress {
  /**
   * @param fraction share that is done, in [0, 1]
   * @param what what is being done now
   */
  update(fraction: number, what: string, pace?: Pace): void;
  /** A line that stays. */
  line(text: string): void;
  stop(): void;
}

const SILENT: Progress = { update() {}, line() {}, stop() {} };

/** Plain lines appear at least this far apart, as a share of the work. */
const PLAIN_STEP = 0.1;

/** A bar with rate and time left on a terminal, plain lines elsewhere, nothing when quiet. */
export function openProgress(title: string, { quiet, jsonLines }: PrintOptions): Progress {
  if (quiet || jsonLines) return SILENT;
  return process.stderr.isTTY ? bar(title) : plain(title);
}

/** Characters of what is being done that are shown. */
const SHOWN = 80;

function bar(title: string): Progress {
  const started = performance.now();
  const single = new SingleBar({
    format: `${title} [{bar}] {percentage}% | {what} | {rate}{left} left`,
    barCompleteChar: "#",
    barIncompleteChar: "-",
    hideCursor: true,
    clearOnComplete: true,
    stopOnComplete: false,
    stream: process.stderr,
  });
  const payload = { what: "starting", rate: "", left: "?" };
  single.start(1000, 0, payload);
  return {
    update(fraction, what, pace = {}) {
      payload.what = fit(printable(what), SHOWN);
      payload.rate = pace.rate ? `${pace.rate} | ` : "";
      const seconds = (performance.now() - started) / 1000;
      const even = fraction > 0.01 ? (seconds / fraction) * (1 - fraction) : undefined;
      const left = "secondsLeft" in pace ? pace.secondsLeft : even;
      payload.left = left === undefined ? "?" : duration(left);
      single.update(Math.floor(fraction * 1000), payload);
    },
    line(text) {
      // The bar's line is wiped first and drawn again at its next update.
      process.stderr.write(`\r\u001b[K${printable(text)}\n`);
    },
    stop() {
      single.stop();
    },
  };
}

function plain(title: string): Progress {
  let next = 0;
  return {
    update(fraction, what, { rate } = {}) {
      if (fraction < next && fraction < 1) return;
      next = fraction < 1 ? fraction + PLAIN_STEP : Number.POSITIVE_INFINITY;
      const tail = rate ? ` (${rate})` : "";
      printNote(`${title} ${Math.floor(fraction * 100)}%: ${fit(printable(what), SHOWN)}${tail}`);
    },
    line: printNote,
    stop() {},
  };
}

/** Seconds as a person says them. */
export function duration(seconds: number): string {
  if (seconds < 1) return "under 1 s";
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}

/** Rows as columns of equal width; the first column is flush left, the others flush right. */
export function table(rows: readonly (readonly string[])[]): string {
  // A line break in a cell would forge a row.
  const cells = rows.map((row) => row.map(printable));
  const widths = cells[0].map((_, c) =>
    cells.reduce((most, row) => Math.max(most, row[c].length), 0),
  );
  return cells
    .map((row) =>
      row
        .map((cell, c) => (c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c])))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Prints lines on standard output; what a terminal would act on is written out. */
export function print(text: string): void {
  printPart(`${text}\n`);
}

/** The same without a line break at the end. */
export function printPart(text: string): void {
  process.stdout.write(printableLines(text));
}

/** Prints one line that names something from a file, such as `metadata KEY: TEXT`. */
export function printLine(text: string): void {
  print(printable(text));
}

/** Prints one line on standard error. */
export function printNote(text: string): void {
  process.stderr.write(`${printable(text)}\n`);
}

/** Prints a command's result as JSON. */
export function printJson(value: unknown, { jsonLines }: PrintOptions = {}): void {
  if (jsonLines) printObject({ type: "result", ...(value as object) });
  else print(JSON.stringify(value, plainArrays, 2));
}

/**
 * Hands on the events of long work, each of which is printed as one line where that is asked for.
 *
 * @param work what it is, such as "compress": some commands do several one after another
 */
export async function* told<Event extends object>(
  work: string,
  events: AsyncIterable<Event>,
  { jsonLines }: PrintOptions,
): AsyncGenerator<Event, void, void> {
  for await (const event of events) {
    if (jsonLines) printObject({ type: "progress", work, ...event });
    yield event;
  }
}

function printObject(value: object): void {
  print(JSON.stringify(value, plainArrays));
}

/** Typed arrays as lists. */
function plainArrays(_key: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) ? Array.from(value as Int32Array) : value;
}
