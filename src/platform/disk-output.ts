import { PenjingError } from "../errors.js";
import { openSinks } from "./disk-sinks.js";
import { openDiskWork } from "./disk-work.js";
import { checkFileName, errorCode, fileError } from "./file-errors.js";
import { makeFolders } from "./make-folders.js";
import { loadFiles, loadPaths, loadSystem } from "./node-modules.js";
import type { ByteSink, OutputFolder, OutputFolderOptions } from "./output-files.js";
import type { WorkFolder } from "./work-folder.js";

/** In the folder of what is unfinished: the files of the output, and the output that they replace. */
const FILES = "files";
const REPLACED = "replaced";

/** Where what is unfinished of an output lies. */
export async function partialPath(output: string): Promise<string> {
  return `${await realTarget(output)}.partial`;
}

/** A symbolic link is followed, so that the link itself is never replaced by a folder. */
export async function realTarget(path: string): Promise<string> {
  const { realpath } = await loadFiles();
  const { resolve } = await loadPaths();
  return realpath(resolve(path)).catch(() => resolve(path));
}

/** The names in a folder, `"file"` for anything that is not one, undefined for nothing. */
export async function existing(path: string): Promise<string[] | "file" | undefined> {
  const { readdir, stat } = await loadFiles();
  try {
    return (await stat(path)).isDirectory() ? await readdir(path) : "file";
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw fileError(path, "looking at the output path", error);
  }
}

/** Refuses to replace a folder that holds the working folder or the user's home. */
async function checkReplaceable(path: string): Promise<void> {
  const { relative, isAbsolute } = await loadPaths();
  const { homedir } = await loadSystem();
  for (const precious of [process.cwd(), homedir()]) {
    const below = relative(path, precious);
    if (!below.startsWith("..") && !isAbsolute(below)) {
      throw new PenjingError(
        path,
        `it holds ${precious} and is never replaced, even with \`force\`; choose another output.`,
      );
    }
  }
}

/** Makes the names in a folder survive a power cut. File systems that cannot are left alone. */
export async function syncFolder(path: string): Promise<void> {
  const { open } = await loadFiles();
  try {
    const handle = await open(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = errorCode(error) ?? "";
    // Windows opens no folders, and some network file systems do not sync them.
    if (!["EISDIR", "EPERM", "EACCES", "EINVAL", "ENOTSUP", "EBADF"].includes(code)) throw error;
  }
}

/** Whether something is at the output path; refuses what must not be replaced. */
async function refuseExisting(target: string, force: boolean): Promise<boolean> {
  const found = await existing(target);
  const occupied = found === "file" || (found !== undefined && found.length > 0);
  if (occupied && !force) {
    throw new PenjingError(
      target,
      found === "file"
        ? "a file of this name exists; choose another output or give `force` to replace it."
        : "the folder exists and is not empty; choose another output or give `force` to replace it.",
    );
  }
  if (occupied) await checkReplaceable(target);
  return found !== undefined;
}

/** What versions before this one left beside an output when they were killed. */
async function oldLeftovers(target: string): Promise<string[]> {
  const { readdir } = await loadFiles();
  const { basename, dirname, join } = await loadPaths();
  const name = basename(target);
  const isLeft = (one: string) =>
    one.startsWith(name) && /^\.(partial|replaced)-\d+-[a-z0-9]+$/.test(one.slice(name.length));
  return (await readdir(dirname(target))).filter(isLeft).map((one) => join(dirname(target), one));
}

/**
 * Sees to the unfinished work on an output that lies there.
 *
 * @returns what is to be said of it
 * @throws PenjingError when there is some and it may neither be gone on with nor removed
 */
export async function settleKept(
  work: WorkFolder,
  { force = false, goesOn = false }: DiskOutputOptions,
): Promise<string[]> {
  const kept = await work.list();
  if (kept.length === 0) return [];
  if (force) {
    for (const name of kept) await work.remove(name);
    return [`unfinished work of an earlier run at ${work.path} was removed, as \`force\` asks`];
  }
  if (goesOn) return [];
  throw new PenjingError(
    work.path,
    "it holds unfinished work on this output; finish it with the command that began it, or give `force` to begin anew.",
  );
}

/** An output folder on disk. */
export interface DiskOutput extends OutputFolder {
  /** The folder of what is unfinished. */
  readonly scratch: () => Promise<WorkFolder>;
  /** Sentences on what earlier runs left at this output. */
  readonly notes: readonly string[];
}

export interface DiskOutputOptions extends OutputFolderOptions {
  /** Whether unfinished work that lies there may be gone on with. @default false */
  readonly goesOn?: boolean | undefined;
}

/** Opens an output folder on disk, as `createOutputFolder` says. */
export async function openDiskOutput(
  path: string,
  { force = false, goesOn = false }: DiskOutputOptions = {},
): Promise<DiskOutput> {
  const fs = await loadFiles();
  const { dirname, join } = await loadPaths();
  const target = await realTarget(path);
  await refuseExisting(target, force);
  const partial = await partialPath(target);
  const unchanged = `nothing was written at ${target}`;
  try {
    await makeFolders(dirname(target));
  } catch (error) {
    throw fileError(target, "creating the output folder", error, unchanged);
  }
  const work = await openDiskWork(partial);
  const files = join(partial, FILES);
  const replaced = join(partial, REPLACED);
  const notes: string[] = [];
  const remove = async (folder: string) => fs.rm(folder, { recursive: true, force: true });
  try {
    // A run that was killed between its two renames took away what stood here.
    if ((await existing(replaced)) && !(await existing(target))) await fs.rename(replaced, target);
    await refuseExisting(target, force);
    await remove(replaced);
    await remove(files);
    notes.push(...(await settleKept(work, { force, goesOn })));
    for (const left of await oldLeftovers(target)) {
      notes.push(`${left} was left by an earlier run that did not end; remove it`);
    }
    await fs.mkdir(files);
  } catch (error) {
    await work.close();
    throw fileError(target, "creating the output folder", error, unchanged);
  }

  const sinks = await openSinks(files, target, unchanged);
  let state: "writing" | "committed" | "discarded" = "writing";
  const checkWriting = (): void => {
    if (state !== "writing") throw new PenjingError(target, `the output was already ${state}.`);
  };

  const create = async (name: string): Promise<ByteSink> => {
    checkFileName(target, name);
    checkWriting();
    return sinks.create(name);
  };

  /** Renames the files to `target`, moving what stands there aside first. */
  const takeName = async (): Promise<void> => {
    const found = await existing(target);
    const isEmpty = found !== "file" && found?.length === 0;
    if (isEmpty) await fs.rmdir(target);
    if (found === undefined || isEmpty) return fs.rename(files, target);
    await fs.rename(target, replaced);
    try {
      await fs.rename(files, target);
    } catch (error) {
      await fs.rename(replaced, target).catch((second: unknown) => {
        const note = `the previous output is at ${replaced} and the new one at ${files}`;
        throw fileError(target, "restoring the previous output", second, note);
      });
      throw error;
    }
  };

  return {
    path: target,
    notes,
    scratch: async () => work,
    create,
    async writeText(name, text) {
      const sink = await create(name);
      await sink.write(0, new TextEncoder().encode(text));
      await sink.finish();
    },
    async commit() {
      checkWriting();
      sinks.checkFinished();
      await refuseExisting(target, force);
      try {
        for (const folder of sinks.folders) await syncFolder(folder);
        await takeName();
        state = "committed";
        await syncFolder(dirname(target));
      } catch (error) {
        throw fileError(target, "giving the output its final name", error);
      }
      try {
        await remove(replaced);
        await work.clear();
      } catch (error) {
        const note = `the new output is complete at ${target}; remove ${partial} yourself`;
        // What the work folder says of itself does not tell that the output is whole.
        const reason = error instanceof PenjingError ? (error.cause ?? error) : error;
        throw fileError(partial, "removing what is no longer needed", reason, note);
      }
    },
    async discard({ keepScratch = false } = {}) {
      if (state !== "writing") return;
      state = "discarded";
      await sinks.closeAll();
      try {
        await remove(files);
        await (keepScratch ? work.close() : work.clear());
      } catch (error) {
        throw fileError(partial, "removing the unfinished output", error);
      }
    },
  };
}

/** Removes what a run left beside its output when it was killed after the commit. */
export async function removePartial(output: string): Promise<void> {
  const partial = await partialPath(output);
  if (!(await existing(partial))) return;
  const { rm } = await loadFiles();
  const { join } = await loadPaths();
  const work = await openDiskWork(partial);
  for (const name of [FILES, REPLACED])
    await rm(join(partial, name), { recursive: true, force: true });
  await work.clear();
}
