import { PenjingError } from "../errors.js";
import { loadFiles, loadPaths } from "./node-modules.js";
import type { OutputFolder } from "./output-files.js";

/** The path without symbolic links, as far as it exists. */
async function realPath(path: string): Promise<string> {
  const { realpath } = await loadFiles();
  const { basename, dirname, join, resolve } = await loadPaths();
  const full = resolve(path);
  try {
    return await realpath(full);
  } catch {
    const parent = dirname(full);
    return parent === full ? full : join(await realPath(parent), basename(full));
  }
}

/** The symbolic links in a folder and in the folders in it, by name, and where they lead. */
async function linksIn(folder: string): Promise<Map<string, string>> {
  const { readdir } = await loadFiles();
  const { join } = await loadPaths();
  const links = new Map<string, string>();
  const scan = async (prefix: string, levels: number): Promise<void> => {
    // A file, and a folder that cannot be read, have none.
    const entries = await readdir(join(folder, prefix), { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const name = join(prefix, entry.name);
      if (entry.isSymbolicLink()) links.set(name, await realPath(join(folder, name)));
      else if (entry.isDirectory() && levels > 0) await scan(name, levels - 1);
    }
  };
  await scan("", 1);
  return links;
}

/**
 * Refuses an output folder that is an input, holds one or lies in one: replacing it would destroy
 * the input, and an output inside a model's folder would become a part of that model. What the symbolic
 * links in an input folder lead to is input too. Node, Deno and Bun only.
 *
 * @param input a file or folder that is read
 * @throws PenjingError when they overlap
 */
export async function refuseOverlap(output: string, input: string): Promise<void> {
  const { isAbsolute, relative, sep } = await loadPaths();
  const [out, source] = [await realPath(output), await realPath(input)];
  const holds = (outer: string, inner: string) => {
    const below = relative(outer, inner);
    return !isAbsolute(below) && below !== ".." && !below.startsWith(`..${sep}`);
  };
  const overlap =
    out === source
      ? "it is also read as input"
      : holds(out, source)
        ? `it holds the input ${source}, which would be lost`
        : holds(source, out)
          ? `it lies inside the input folder ${source}`
          : undefined;
  if (overlap === undefined) {
    for (const [name, target] of await linksIn(source)) {
      if (!holds(out, target)) continue;
      throw new PenjingError(
        output,
        `it holds ${target}, which the input's symbolic link ${name} leads to and which would be lost; an output stands apart from what it is made of: choose another one.`,
      );
    }
    return;
  }
  throw new PenjingError(
    output,
    `${overlap}; an output stands apart from what it is made of: choose another one.`,
  );
}

/** An output folder, and what is to be said of what lay there. */
export interface OpenedOutput {
  readonly output: OutputFolder;
  readonly notes: readonly string[];
}

/** What a run does at its output. */
export interface OutputUse {
  /** Whether unfinished work on the same output may be gone on with. @default false */
  readonly goesOn?: boolean | undefined;
  /** Whether the output is a file, or several, and no folder. @default false */
  readonly isFile?: boolean | undefined;
}

/**
 * The folder that a run's result goes to, apart from what it is made of. That of a file is the folder
 * that it lies in.
 *
 * @param input the file or folder that is read
 * @throws PenjingError when they overlap, something is there already and is not to be replaced, or
 *   another process is at work there
 */
export async function openOutput(
  { out, force }: { readonly out: string | OutputFolder; readonly force?: boolean },
  input: string,
  { goesOn = false, isFile = false }: OutputUse = {},
): Promise<OpenedOutput> {
  if (typeof out !== "string") return { output: out, notes: [] };
  await refuseOverlap(out, input);
  const { openDiskFiles, openDiskOutput } = await import("./disk.js");
  const output = await (isFile ? openDiskFiles : openDiskOutput)(out, { force, goesOn });
  return { output, notes: output.notes };
}
