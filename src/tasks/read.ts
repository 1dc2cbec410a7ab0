/** Items of tasks from the files of their rows. */

import { type Argument, FILE } from "../arguments.js";
import type { DatasetRow } from "../datasets/document.js";
import { readRows } from "../datasets/rows.js";
import { PenjingError } from "../errors.js";
import { type ByteSource, blobSource, type Folder, openFile } from "../platform/files.js";
import type { KnownTask, Task, TaskItem } from "./task.js";

/** Largest file of labels, in bytes. */
const MOST_BYTES = 2 ** 24;

export interface ReadItemsOptions {
  /** Items at most, from the first on. @default all */
  readonly limit?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The rows' right choices, where the rows do not have them. */
  readonly labels?: readonly string[] | undefined;
}

/**
 * The items of a task in the order of its file.
 *
 * @throws PenjingError when the file has no rows, or one that is not of the task
 */
export async function readItems(
  task: Task,
  file: ByteSource,
  { limit = Number.POSITIVE_INFINITY, signal, labels }: ReadItemsOptions = {},
): Promise<TaskItem[]> {
  const items: TaskItem[] = [];
  const rows: AsyncIterable<DatasetRow> = readRows(file, signal);
  for await (const row of rows) {
    items.push(task.item(row, labels?.[items.length]));
    if (items.length >= limit) break;
  }
  if (items.length > 0) return items;
  throw new PenjingError(file.name, `it has no rows for ${task.name}; fetch it again.`);
}

/**
 * The same of a task whose file is found by its name.
 *
 * @param folder with the files, or with folders of them
 * @throws PenjingError also when the folder has no file for the task or several
 */
export async function readKnown(
  task: KnownTask,
  folder: Folder,
  options: ReadItemsOptions = {},
): Promise<TaskItem[]> {
  const name = await fileFor(task, folder, task.files, "rows");
  const labels = task.labels && (await labelsOf(task, folder));
  const opened = await folder.open(name);
  const file = { ...opened, name: `${folder.path}/${name}` };
  try {
    return await readItems(task, file, { ...options, labels });
  } finally {
    await opened.close();
  }
}

/** The labels of a task whose rows have none in them, if there is a file of them. */
async function labelsOf(task: KnownTask, folder: Folder): Promise<string[] | undefined> {
  const found = (await folder.list()).filter((name) => task.labels!.test(name));
  if (found.length === 0) return undefined;
  const file = await fileFor(task, folder, task.labels!, "labels");
  return (await folder.readText(file, MOST_BYTES)).split("\n").filter((line) => line.trim() !== "");
}

async function fileFor(
  task: KnownTask,
  folder: Folder,
  names: RegExp,
  what: string,
): Promise<string> {
  const found = (await folder.list()).filter((name) => names.test(name));
  // A folder named like the task has its own.
  const own = found.filter((name) => name.toLowerCase().startsWith(`${task.name}/`));
  const [file, ...others] = own.length > 0 ? own : found;
  if (file !== undefined && others.length === 0) return file;
  if (file === undefined) {
    throw new PenjingError(
      folder.path,
      `it has no file with the ${what} of ${task.name} (${names.source}), in it or one folder below; put the task's JSON Lines or Parquet there.`,
    );
  }
  throw new PenjingError(
    folder.path,
    `${[file, ...others].join(", ")} may all be the ${what} of ${task.name}; keep one of them, or put it into a folder ${task.name}.`,
  );
}

/** What a file of rows may be. */
export const FILE_OR_BLOB: Argument = {
  what: "a file's path, a File, or an open file",
  fits: (value) => value instanceof Blob || FILE.fits(value),
};

/** Opens the file of a task's rows. */
export async function openTaskFile(file: string | Blob | ByteSource): Promise<ByteSource> {
  if (typeof file === "string") return openFile(file);
  if (file instanceof Blob) {
    if ("name" in file) return blobSource(file);
    throw new PenjingError(
      "data",
      "a Blob has no name, which says of what format it is; give a File whose name ends in .jsonl or .parquet.",
    );
  }
  return { ...file, close: async () => {} };
}
