/** Parquet, read by hyparquet. Loaded where such a file is read. */
import {
  type AsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import type { JsonObject } from "../checkpoint/json.js";
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

/** Most rows of a row group, of which one is read at a time; the usual ones have up to 10^6. */
const MOST_ROWS = 10_000_000;

/** The documents of one column, a row group at a time. */
export async function* readParquet(
  file: ByteSource,
  { column: wanted, ...options }: ReadOptions,
): AsyncGenerator<DatasetDocument> {
  let column = "";
  const choose = (columns: readonly string[]) => {
    column = chooseColumn(file.name, columns, wanted);
    return [column];
  };
  for await (const { where, cells } of rowsOf(file, options, choose)) {
    const found = documentOf(where, column, cells[column]);
    if (found !== undefined) yield found;
  }
}

/** The rows, with whole numbers as numbers. */
export async function* readParquetRows(
  file: ByteSource,
  options: RowOptions,
): AsyncGenerator<DatasetRow> {
  for await (const { where, cells } of rowsOf(file, options)) {
    yield { where, cells: asJson(cells) as JsonObject };
  }
}

/** @param choose which of the columns are read. @default all */
async function* rowsOf(
  file: ByteSource,
  { signal }: RowOptions,
  choose: (columns: readonly string[]) => string[] | undefined = () => undefined,
): AsyncGenerator<DatasetRow> {
  const rest = pacer(signal);
  const buffer: AsyncBuffer = {
    byteLength: file.size,
    async slice(start, end = file.size) {
      signal?.throwIfAborted();
      const from = start < 0 ? Math.max(0, file.size + start) : start;
      return (await file.read(from, Math.min(end, file.size) - from)).buffer as ArrayBuffer;
    },
  };
  const metadata = await guarded(file, signal, () => parquetMetadataAsync(buffer));
  const there = await guarded(file, signal, async () =>
    parquetSchema(metadata).children.map(({ element }) => element.name),
  );
  const columns = choose(there);
  let row = 0;
  for (const [first, count] of groupsOf(file, metadata)) {
    const range = { rowStart: first, rowEnd: first + count };
    const rows = await guarded(file, signal, () =>
      parquetReadObjects({ file: buffer, metadata, columns, compressors, ...range }),
    );
    for (const cells of rows) {
      yield { where: `${file.name}, row ${++row}`, cells: cells as JsonObject };
    }
    await rest();
  }
}

/** A value with 64-bit integers as numbers. */
function asJson(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(asJson);
  if (
    typeof value !== "object" ||
    value === null ||
    Object.getPrototypeOf(value) !== Object.prototype
  )
    return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, asJson(one)]));
}

/** First row and count of each row group. */
function groupsOf(file: ByteSource, { row_groups: groups }: FileMetaData): [number, number][] {
  let first = 0;
  return groups.map(({ num_rows: rows }) => {
    const count = Number(rows);
    if (count < 0 || count > MOST_ROWS) {
      const rule = `more than the ${MOST_ROWS} that are read at a time`;
      throw new PenjingError(
        file.name,
        `one of its row groups has ${count} rows, ${rule}; write it with smaller ones.`,
      );
    }
    const group: [number, number] = [first, count];
    first += count;
    return group;
  });
}

/** Says of any failure in the file that it is damaged. */
async function guarded<Result>(
  { name }: ByteSource,
  signal: AbortSignal | undefined,
  read: () => Promise<Result>,
): Promise<Result> {
  try {
    return await read();
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof PenjingError) throw cause;
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new PenjingError(name, `it cannot be read as Parquet (${reason}); fetch it again.`, {
      cause,
    });
  }
}
