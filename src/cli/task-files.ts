/** Tasks and their data as the command line names them. */
import { dirname, resolve } from "node:path";
import { PenjingError } from "../errors.js";
import type { TaskDefinition } from "../evaluate-tasks.js";
import type { PrintOptions } from "./console.js";
import { followDownload } from "./hub.js";
import { readText } from "./text.js";
import { parseYaml } from "./yaml.js";

/** Whether a name in --tasks is that of a file. */
const isFile = (name: string) => /\.(ya?ml|json)$/i.test(name);

export interface GivenTasks {
  /** @default all five */
  readonly tasks?: readonly (string | TaskDefinition)[] | undefined;
  readonly data?: string | undefined;
  readonly files: Readonly<Record<string, string>>;
}

export interface TaskFlags extends PrintOptions {
  readonly tasks?: readonly string[];
  readonly data?: readonly string[];
}

/**
 * The tasks, with files that are on the hub fetched.
 *
 * @throws PenjingError for a task's file that cannot be read, and for more than one folder of data
 */
export async function givenTasks(flags: TaskFlags, signal: AbortSignal): Promise<GivenTasks> {
  const { tasks: names = [], data = [] } = flags;
  const files: Record<string, string> = {};
  const folders: string[] = [];
  for (const given of data) {
    const [, task, file] = /^([\w.-]+)=(.+)$/.exec(given) ?? [];
    if (task !== undefined) files[task] = await fetched(file, flags, signal);
    else folders.push(given);
  }
  if (folders.length > 1) {
    throw new PenjingError(
      "--data",
      `${folders.join(" and ")} are two folders; give one, and single files as TASK=FILE.`,
    );
  }
  const isAll = String(names) === "all";
  const tasks = await Promise.all(
    names.map((name) => (isFile(name) ? readDefinition(name, flags, signal) : name)),
  );
  return { tasks: isAll ? undefined : tasks, data: folders[0], files };
}

/** The definition in a task's file, whose data lie where the file says from its own folder. */
async function readDefinition(
  path: string,
  flags: TaskFlags,
  signal: AbortSignal,
): Promise<TaskDefinition> {
  const text = await readText(path, { reader: "--tasks", signal });
  const parsed = parseYaml(text, path, "a task's file says where its rows are and has none");
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new PenjingError(
      path,
      "it must hold the keys of a task, such as task, data and context; write those.",
    );
  }
  const { data } = parsed as Partial<TaskDefinition>;
  if (typeof data !== "string") return { ...(parsed as TaskDefinition), where: path };
  const isHere = !data.startsWith("hf://");
  const found = isHere ? resolve(dirname(path), data) : await fetched(data, flags, signal);
  return { ...(parsed as TaskDefinition), data: found, where: path };
}

/** A file's path, of one on the hub after its download. */
async function fetched(file: string, flags: PrintOptions, signal: AbortSignal): Promise<string> {
  return file.startsWith("hf://") ? (await followDownload(file, { signal }, flags)).path : file;
}
