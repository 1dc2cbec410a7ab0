/** Texts to calibrate on and to score, from files of several formats. */
import { checkArguments, required, TEXT } from "../arguments.js";
import { PenjingError } from "../errors.js";
import { type ByteSource, blobSource, openFile } from "../platform/files.js";
import type { DatasetDocument } from "./document.js";

/** Documents that are read as they are asked for. */
export interface Dataset {
  /** What messages and penjing.json call it, such as the file's name. */
  readonly name: string;
  /** What else penjing.json says of it, such as its format. */
  readonly facts?: Readonly<Record<string, string | number>> | undefined;
  /** The documents from the first on; every call begins anew. */
  documents(signal?: AbortSignal): AsyncIterable<DatasetDocument>;
}

export type DatasetFormat = "text" | "jsonl" | "parquet";

export interface OpenDatasetOptions {
  /**
   * The column, or the key of each line, that holds the texts or conversations.
   *
   * @default "text" where there is one, else "messages"
   */
  readonly column?: string | undefined;
  /** @default by the name: .jsonl, .ndjson, .json (all with .gz or without) and .parquet; others are one text */
  readonly format?: DatasetFormat | undefined;
}

const FORMATS: readonly DatasetFormat[] = ["text", "jsonl", "parquet"];

/**
 * The format of a file by its name, and whether it is compressed with gzip. A dataset named .json, such as
 * those of C4, has JSON Lines in it.
 */
export function formatOf(name: string): { readonly format: DatasetFormat; readonly gzip: boolean } {
  const [, stem, zipped] = /^(.*?)(\.gz)?$/is.exec(name)!;
  const ending = /\.(jsonl?|ndjson|parquet)$/i.exec(stem)?.[1].toLowerCase();
  const format = ending === "parquet" ? "parquet" : ending ? "jsonl" : "text";
  return { format, gzip: zipped !== undefined };
}

/**
 * A dataset in a file: JSON Lines or Parquet with a column of texts or of conversations (lists of
 * messages with a role and a content), or plain text, which is one document. JSON Lines and text may
 * be compressed with gzip.
 *
 * @param source a path (Node, Deno, Bun), a Blob or File, or an open file, which stays open
 * @throws PenjingError when there is no such file, or a format or column that it cannot have; what
 *   is wrong with its content is thrown as it is read
 */
export async function openDataset(
  source: string | Blob | ByteSource,
  options: OpenDatasetOptions = {},
): Promise<Dataset> {
  checkArguments("openDataset", options, {
    column: TEXT,
    format: { what: FORMATS.join(" or "), fits: (value) => FORMATS.includes(value as never) },
  });
  checkArguments("openDataset", { source }, { source: required(SOURCE) });
  const path =
    typeof source === "string" ? source : source instanceof Blob ? fileName(source) : source.name;
  const guessed = formatOf(path);
  const { column } = options;
  const format = options.format ?? guessed.format;
  const { gzip } = guessed;
  if (format === "text" && column !== undefined) {
    throw new PenjingError(path, "it is plain text, which has no columns; leave the column out.");
  }
  if (format === "parquet" && gzip) {
    throw new PenjingError(path, "a Parquet file is compressed inside; unpack it with gunzip.");
  }
  // That it is there is seen at once.
  await (await opened(source)).close();
  const read = {
    text: async () => (await import("./lines.js")).readWhole,
    jsonl: async () => (await import("./lines.js")).readLines,
    parquet: async () => (await import("./parquet.js")).readParquet,
  }[format];
  return {
    name: path.split(/[\\/]/).at(-1)!,
    facts: { format, ...(column !== undefined && { column }) },
    async *documents(signal) {
      const file = await opened(source);
      try {
        yield* (await read())(file, { column, gzip, signal });
      } finally {
        await file.close();
      }
    },
  };
}

const SOURCE = {
  what: "a file's path, a Blob, or an open file",
  fits: (value: unknown) =>
    typeof value === "string" ||
    value instanceof Blob ||
    (typeof value === "object" && value !== null && "read" in value && "size" in value),
};

function fileName(blob: Blob): string {
  return (blob as File).name ?? "blob";
}

async function opened(source: string | Blob | ByteSource): Promise<ByteSource> {
  if (typeof source === "string") return openFile(source);
  if (source instanceof Blob) return blobSource(source, fileName(source));
  return { ...source, close: async () => {} };
}
