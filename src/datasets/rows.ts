/** Rows of data files with all their columns. */
import type { ByteSource } from "../platform/files.js";
import { formatOf } from "./dataset.js";
import type { DatasetRow } from "./document.js";

/**
 * The rows of JSON Lines, of Parquet, or of a plain text: its lines, each with a `text`. The format is
 * told by the name; `.gz` behind it is unpacked.
 *
 * @throws PenjingError (from the iteration) for what is wrong with the file; the signal's reason when it
 *   was aborted
 */
export async function* readRows(
  file: ByteSource,
  signal?: AbortSignal,
): AsyncGenerator<DatasetRow> {
  const { format, gzip } = formatOf(file.name);
  const options = { gzip, signal };
  if (format === "parquet") {
    const { readParquetRows } = await import("./parquet.js");
    yield* readParquetRows(file, options);
    return;
  }
  const { readLineRows, readTextRows } = await import("./lines.js");
  yield* format === "jsonl" ? readLineRows(file, options) : readTextRows(file, options);
}
