import { isJsonObject, type JsonObject, MAX_CONFIG_DEPTH, parseJson } from "../checkpoint/json.js";
import { PenjingError } from "../errors.js";
import type { ByteSource } from "../platform/files.js";
import { pacer } from "../run.js";
import {
  chooseColumn,
  type DatasetDocument,
  type DatasetRow,
  documentOf,
  type ReadOptions,
  type RowOptions,
} from "./document.js";

/** Bytes that are read at a time. */
const PIECE_BYTES = 2 ** 20;
/** Longest line, and longest plain text, in characters: what one string may well hold. */
const LONGEST = 2 ** 28;

/** The bytes of a file piece by piece. */
async function* piecesOf(file: ByteSource): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, file.size - at);
    yield (await file.read(at, length)) as Uint8Array<ArrayBuffer>;
  }
}

/** Text as it comes, unpacked where it is compressed. */
async function* textOf(file: ByteSource, { gzip, signal }: RowOptions): AsyncGenerator<string> {
  const rest = pacer(signal);
  const bytes = piecesOf(file);
  const plain = gzip ? unzipped(bytes, file.name) : bytes;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const decode = (piece?: Uint8Array) => {
    try {
      return decoder.decode(piece, { stream: piece !== undefined });
    } catch (cause) {
      throw new PenjingError(file.name, "it is not UTF-8 text; convert it to UTF-8.", { cause });
    }
  };
  for await (const piece of plain) {
    yield decode(piece);
    await rest();
  }
  yield decode();
}

async function* unzipped(
  pieces: AsyncGenerator<Uint8Array<ArrayBuffer>>,
  where: string,
): AsyncGenerator<Uint8Array> {
  const packed = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  const reader = packed.pipeThrough(new DecompressionStream("gzip")).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (cause) {
    if (cause instanceof PenjingError) throw cause;
    throw new PenjingError(where, "it is no whole gzip file; fetch it again.", { cause });
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** A plain text as one document. */
export async function* readWhole(
  file: ByteSource,
  options: ReadOptions,
): AsyncGenerator<DatasetDocument> {
  const pieces: string[] = [];
  let length = 0;
  for await (const piece of textOf(file, options)) {
    pieces.push(piece);
    length += piece.length;
    if (length > LONGEST) {
      throw new PenjingError(
        file.name,
        `its text has more than the ${LONGEST} characters that one may have; give a part of it.`,
      );
    }
  }
  yield pieces.join("");
}

/** The documents of JSON Lines: an object in each line, of which one key holds them. */
export async function* readLines(
  file: ByteSource,
  options: ReadOptions,
): AsyncGenerator<DatasetDocument> {
  let column: string | undefined;
  for await (const { where, cells } of readLineRows(file, options)) {
    // Keys may be left out of a line, but not of the first.
    column ??= chooseColumn(where, Object.keys(cells), options.column);
    const found = documentOf(where, column, Object.hasOwn(cells, column) ? cells[column] : null);
    if (found !== undefined) yield found;
  }
}

/** The rows of JSON Lines. */
export async function* readLineRows(
  file: ByteSource,
  options: RowOptions,
): AsyncGenerator<DatasetRow> {
  let number = 0;
  for await (const line of linesOf(file, options)) {
    number++;
    if (line.trim() === "") continue;
    const where = `${file.name}, line ${number}`;
    yield { where, cells: rowOf(line, where) };
  }
}

/** The lines of a plain text that are not empty, each as a row with a `text`. */
export async function* readTextRows(
  file: ByteSource,
  options: RowOptions,
): AsyncGenerator<DatasetRow> {
  let number = 0;
  for await (const line of linesOf(file, options)) {
    number++;
    const text = line.trim();
    if (text !== "") yield { where: `${file.name}, line ${number}`, cells: { text } };
  }
}

/** The object in a line. */
function rowOf(line: string, where: string): JsonObject {
  const fail = (what: string, cure: string) =>
    new PenjingError(where, `a line of JSON Lines holds one object, and this ${what}; ${cure}.`);
  const begun = line.trim();
  if (begun.startsWith("[")) {
    throw fail("is or begins a list", "write each object of it on its own line (jq -c '.[]')");
  }
  if (begun === "{") throw fail("holds the beginning of one", "write it on one line (jq -c .)");
  const row = parseJson(line, where, MAX_CONFIG_DEPTH);
  if (isJsonObject(row)) return row;
  throw fail("holds none", "write one object on each line");
}

async function* linesOf(file: ByteSource, options: RowOptions): AsyncGenerator<string> {
  let rest = "";
  for await (const piece of textOf(file, options)) {
    const lines = piece.split("\n");
    lines[0] = rest + lines[0];
    rest = lines.pop()!;
    yield* lines;
    if (rest.length > LONGEST) {
      throw new PenjingError(
        file.name,
        `it has a line of more than ${LONGEST} characters; give one object in each line.`,
      );
    }
  }
  yield rest;
}
