import { constants, openSync } from "node:fs";
import { stat } from "node:fs/promises";
import { Socket } from "node:net";
import { addAbortSignal, type Readable } from "node:stream";
import { type Dataset, formatOf, openDataset } from "../datasets/dataset.js";
import { PenjingError } from "../errors.js";
import { fileError } from "../platform/file-errors.js";
import { openFile } from "../platform/files.js";
import { printNote } from "./console.js";
import { followDownload } from "./hub.js";

/** Longest text that is read, in bytes: what one JavaScript string can hold. */
const MOST_TEXT_BYTES = 500_000_000;

/** Waits so long for the first bytes of a pipe before it says so. */
const WAIT_MS = 1000;

/** What names standard input where a file is asked for. */
export const STDIN = "-";

/** Whether a path names standard input, which only one reader can read. */
export function isStdin(path: string): boolean {
  return path === STDIN || path === "/dev/stdin" || path === "/dev/fd/0";
}

export interface ReadTextOptions {
  /** What asked for the text, such as "--eval", for messages. */
  readonly reader: string;
  /** Stops a read that waits. */
  readonly signal?: AbortSignal | undefined;
  /** Does not say that it waits. */
  readonly quiet?: boolean | undefined;
}

let stdinReader: string | undefined;

/**
 * Reads a whole UTF-8 text: a file, a pipe by its path, or standard input for "-".
 *
 * @throws PenjingError when it cannot be read, is too long, is not UTF-8, or is standard input for a
 *   second time; the signal's reason when it is aborted
 */
export async function readText(path: string, options: ReadTextOptions): Promise<string> {
  const { reader, signal } = options;
  if (isStdin(path)) {
    if (stdinReader !== undefined) {
      throw new PenjingError(
        reader,
        `standard input was read for ${stdinReader} already; give a file to one of the two.`,
      );
    }
    stdinReader = reader;
    return decode("standard input", await readStream(process.stdin, "standard input", options));
  }
  const kind = await stat(path).catch(() => undefined);
  if (kind?.isFIFO()) {
    return decode(path, await readStream(openPipe(path), path, options));
  }
  const source = await openFile(path);
  try {
    if (source.size > MOST_TEXT_BYTES) throw tooLong(path, `it has ${source.size} bytes`);
    signal?.throwIfAborted();
    return decode(path, await source.read(0, source.size));
  } finally {
    await source.close();
  }
}

/** What the help says of a file that `readTexts` reads. */
export const TEXT_FILES =
  "UTF-8 text, .jsonl[.gz] (or .json of such lines) or .parquet, on the disk or as hf://datasets/org/name/FILE";

/** The same of the flag that names a dataset's column. */
export const TEXT_COLUMN =
  'column of .jsonl, .json and .parquet that holds texts, or conversations for the chat template (default: "text", else "messages")';

/**
 * Reads a text as `readText` does, or opens the dataset that a file's name says it is. A name on the hub,
 * such as "hf://datasets/org/name/test.parquet", is that of a file that is downloaded first.
 *
 * @param options.column of the dataset
 * @throws PenjingError as `readText` and `openDataset` do
 */
export async function readTexts(
  given: string,
  { column, ...options }: ReadTextOptions & { readonly column?: string | undefined },
): Promise<string | Dataset> {
  const { signal, quiet = false } = options;
  const isOnHub = given.startsWith("hf://");
  const path = isOnHub ? (await followDownload(given, { signal }, { quiet })).path : given;
  const { format, gzip } = formatOf(path);
  if (isStdin(path) && column !== undefined) {
    const rule = "standard input is read as plain text, which has no columns";
    throw new PenjingError(options.reader, `${rule}; give the dataset's file.`);
  }
  if (isStdin(path) || (format === "text" && !gzip && column === undefined)) {
    return readText(path, options);
  }
  return openDataset(path, { column });
}

/** Opens a named pipe so that neither opening nor reading holds up a thread until somebody writes. */
function openPipe(path: string): Readable {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return new Socket({ fd, readable: true, writable: false });
  } catch (error) {
    throw fileError(path, "opening", error);
  }
}

async function readStream(
  stream: Readable,
  where: string,
  { signal, quiet }: ReadTextOptions,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  const waiting = setTimeout(() => {
    if (!quiet) printNote(`note: ${where}: waiting for its text`);
  }, WAIT_MS);
  if (signal) addAbortSignal(signal, stream);
  try {
    for await (const piece of stream) {
      clearTimeout(waiting);
      pieces.push(piece as Uint8Array);
      size += (piece as Uint8Array).length;
      if (size > MOST_TEXT_BYTES) throw tooLong(where, "more bytes come");
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw fileError(where, "reading", error);
  } finally {
    clearTimeout(waiting);
  }
  return Buffer.concat(pieces);
}

function tooLong(where: string, what: string): PenjingError {
  const most = `than the ${MOST_TEXT_BYTES} that a text may have`;
  return new PenjingError(where, `${what}, more ${most}; give a part of it.`);
}

function decode(where: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new PenjingError(where, "it is not UTF-8 text; convert it to UTF-8.", { cause });
  }
}
