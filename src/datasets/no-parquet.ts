// Stands in for parquet.ts in the bundle for workerd, which is one file: it would make it half as large
// again.
import { PenjingError } from "../errors.js";
import type { ByteSource } from "../platform/files.js";
import type { DatasetDocument, DatasetRow } from "./document.js";

// biome-ignore lint/correctness/useYield: it has the type of what it stands for
export async function* readParquet({ name }: ByteSource): AsyncGenerator<DatasetDocument> {
  throw refusal(name);
}

// biome-ignore lint/correctness/useYield: it has the type of what it stands for
export async function* readParquetRows({ name }: ByteSource): AsyncGenerator<DatasetRow> {
  throw refusal(name);
}

function refusal(name: string): PenjingError {
  return new PenjingError(name, "this build of penjing reads no Parquet; give JSON Lines.");
}
