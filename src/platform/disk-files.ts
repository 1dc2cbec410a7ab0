/** Files that are written beside their final names and take these when all are complete. */
import { PenjingError } from "../errors.js";
import {
  type DiskOutput,
  type DiskOutputOptions,
  existing,
  partialPath,
  realTarget,
  settleKept,
  syncFolder,
} from "./disk-output.js";
import { openSinks } from "./disk-sinks.js";
import { openDiskWork } from "./disk-work.js";
import { checkFileName, fileError } from "./file-errors.js";
import { makeFolders } from "./make-folders.js";
import { loadFiles, loadPaths } from "./node-modules.js";

/** In the folder of what is unfinished. */
const FILES = "files";

/**
 * Refuses a name that a file is not to have.
 *
 * @throws PenjingError when a folder has it, or a file that is not to be replaced
 */
async function refuseTaken(path: string, force: boolean): Promise<void> {
  const found = await existing(path);
  if (found === undefined || (found === "file" && force)) return;
  throw new PenjingError(
    path,
    found === "file"
      ? "a file of this name exists; choose another output or give `force` to replace it."
      : "it is a folder, and the output is a file; give the path of the file.",
  );
}

/**
 * Opens the folder of a file for that file and others that go beside it. What is unfinished lies at
 * `<path>.partial`, where a discard may leave unfinished work for a later run; no other process can begin
 * this output until it is committed or discarded, or this process has ended. The last file created takes
 * its name first. Node, Deno and Bun only.
 *
 * @param path of the file, which names the work
 * @returns an output folder whose path is that of the file's folder
 * @throws PenjingError when a folder has the name of a file, or a file that is not to be replaced, and
 *   for unfinished work that may neither be gone on with nor removed
 */
export async function openDiskFiles(
  path: string,
  { force = false, goesOn = false }: DiskOutputOptions = {},
): Promise<DiskOutput> {
  const fs = await loadFiles();
  const { dirname, join } = await loadPaths();
  const target = await realTarget(path);
  await refuseTaken(target, force);
  const folder = dirname(target);
  const unchanged = `nothing was written at ${target}`;
  try {
    await makeFolders(folder);
  } catch (error) {
    throw fileError(target, "creating the output folder", error, unchanged);
  }
  const partial = await partialPath(target);
  const work = await openDiskWork(partial);
  const files = join(partial, FILES);
  const remove = () => fs.rm(files, { recursive: true, force: true });
  const notes: string[] = [];
  try {
    // What a killed process was writing.
    await remove();
    notes.push(...(await settleKept(work, { force, goesOn })));
    await fs.mkdir(files);
  } catch (error) {
    await work.close();
    throw fileError(target, "creating the output", error, unchanged);
  }
  const sinks = await openSinks(files, folder, unchanged);
  const names: string[] = [];
  let isOver = false;
  const create = async (name: string) => {
    checkFileName(folder, name);
    await refuseTaken(join(folder, name), force);
    names.push(name);
    return sinks.create(name);
  };
  return {
    path: folder,
    notes,
    scratch: async () => work,
    create,
    async writeText(name, text) {
      const sink = await create(name);
      await sink.write(0, new TextEncoder().encode(text));
      await sink.finish();
    },
    async commit() {
      sinks.checkFinished();
      for (const name of names) await refuseTaken(join(folder, name), force);
      try {
        await syncFolder(files);
        for (const name of names.toReversed())
          await fs.rename(join(files, name), join(folder, name));
        isOver = true;
        await syncFolder(folder);
      } catch (error) {
        throw fileError(target, "giving the output its final name", error);
      }
      await remove().catch(() => undefined);
      await work.clear();
    },
    async discard({ keepScratch = false } = {}) {
      if (isOver) return;
      isOver = true;
      await sinks.closeAll();
      try {
        await remove();
        await (keepScratch ? work.close() : work.clear());
      } catch (error) {
        throw fileError(partial, "removing the unfinished output", error);
      }
    },
  };
}
