/** Rows of tasks from a folder of their files. */
import { isJsonObject, MAX_CONFIG_DEPTH, parseJson } from "../checkpoint/json.js";
import { PenjingError } from "../errors.js";
import type { Folder } from "../platform/files.js";
import { pacer } from "../run.js";
import type { Task, TaskItem } from "./task.js";

/** Largest file of a task, in bytes. */
const MOST_BYTES = 2 ** 28;

/**
 * The items of a task in the order of its file.
 *
 * @param folder with the files, or with folders of them
 * @param limit items at most
 * @throws PenjingError when the folder has no file for the task or several, or a row is not one of it
 */
export async function readTask(
  task: Task,
  folder: Folder,
  limit = Number.POSITIVE_INFINITY,
  signal?: AbortSignal,
): Promise<TaskItem[]> {
  const rest = pacer(signal);
  const file = await fileFor(task, folder, task.files, "rows");
  const labels = task.labels && (await labelsOf(task, folder));
  const items: TaskItem[] = [];
  for (const [i, line] of (await folder.readText(file, MOST_BYTES)).split("\n").entries()) {
    if (items.length >= limit) break;
    if (line.trim() === "") continue;
    await rest();
    const where = `${folder.path}/${file}, line ${i + 1}`;
    const cells = parseJson(line, where, MAX_CONFIG_DEPTH);
    if (!isJsonObject(cells)) {
      throw new PenjingError(
        where,
        `it is no object, and a row of ${task.name} is one; take the task's own file.`,
      );
    }
    items.push(task.item({ where, cells }, labels?.[items.length]));
  }
  if (items.length > 0) return items;
  throw new PenjingError(
    `${folder.path}/${file}`,
    `it has no rows for ${task.name}; fetch it again.`,
  );
}

/** The labels of a task whose rows have none in them, if there is a file of them. */
async function labelsOf(task: Task, folder: Folder): Promise<string[] | undefined> {
  const found = (await folder.list()).filter((name) => task.labels!.test(name));
  if (found.length === 0) return undefined;
  const file = await fileFor(task, folder, task.labels!, "labels");
  return (await folder.readText(file, MOST_BYTES)).split("\n").filter((line) => line.trim() !== "");
}

async function fileFor(task: Task, folder: Folder, names: RegExp, what: string): Promise<string> {
  const found = (await folder.list()).filter((name) => names.test(name));
  // A folder named like the task has its own.
  const own = found.filter((name) => name.toLowerCase().startsWith(`${task.name}/`));
  const [file, ...others] = own.length > 0 ? own : found;
  if (file !== undefined && others.length === 0) return file;
  if (file === undefined) {
    throw new PenjingError(
      folder.path,
      `it has no file with the ${what} of ${task.name} (${names.source}), in it or one folder below; put the task's JSON Lines there.`,
    );
  }
  throw new PenjingError(
    folder.path,
    `${[file, ...others].join(", ")} may all be the ${what} of ${task.name}; keep one of them, or put it into a folder ${task.name}.`,
  );
}
