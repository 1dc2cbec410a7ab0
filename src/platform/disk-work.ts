import { PenjingError } from "../errors.js";
import { checkFileName, errorCode, fileError } from "./file-errors.js";
import { LOCK, type Lock, lockFolder } from "./lock.js";
import { makeFolders } from "./make-folders.js";
import { loadFiles, loadPaths } from "./node-modules.js";
import type { WorkFolder } from "./work-folder.js";

/** Its presence says that a folder was made here. */
const MARKER = ".penjing-work";
/** What names of kept files end in on disk, and while they are written. */
const KEPT = ".kept";
const PARTIAL = ".partial";
/** Times that a folder is made anew which another process removes at the same moment. */
const TRIES = 10;

/** Makes the folder and locks it; undefined when another process removed it meanwhile. */
async function enter(folder: string): Promise<Lock | undefined> {
  const fs = await loadFiles();
  const { join } = await loadPaths();
  try {
    await makeFolders(folder);
    const names = (await fs.readdir(folder)).filter((name) => !name.startsWith(LOCK));
    if (names.length > 0 && !names.includes(MARKER)) {
      throw new PenjingError(
        folder,
        "it holds files that are not unfinished work of penjing; give a new or empty folder.",
      );
    }
    if (names.length === 0) await fs.writeFile(join(folder, MARKER), "");
    return await lockFolder(folder);
  } catch (error) {
    const found = fileError(folder, "opening the work folder", error);
    if (errorCode(found.cause) === "ENOENT") return undefined;
    throw found;
  }
}

/** Opens a work folder on disk, as `openWorkFolder` says. */
export async function openDiskWork(path: string): Promise<WorkFolder> {
  const fs = await loadFiles();
  const { join, resolve } = await loadPaths();
  const folder = resolve(path);
  let entered = await enter(folder);
  for (let tries = 1; !entered && tries < TRIES; tries++) entered = await enter(folder);
  if (!entered) {
    throw new PenjingError(folder, "something removes it again and again; choose another folder.");
  }
  const lock = entered;
  const place = (name: string): string => {
    checkFileName(folder, name);
    return join(folder, name + KEPT);
  };
  const namesEnding = async (...endings: string[]) =>
    (await fs.readdir(folder)).filter((name) => endings.some((ending) => name.endsWith(ending)));
  const list = async () => (await namesEnding(KEPT)).map((name) => name.slice(0, -KEPT.length));
  /** Removes what is no part, and the folder when nothing else is in it. */
  const leave = async () => {
    for (const name of await namesEnding(PARTIAL)) await fs.rm(join(folder, name));
    const isEmpty = (await list()).length === 0;
    if (isEmpty) await fs.rm(join(folder, MARKER), { force: true });
    await lock.release();
    // Not when another process entered meanwhile, or something else lies there.
    if (isEmpty && (await fs.readdir(folder)).length === 0) await fs.rmdir(folder).catch(() => {});
  };
  let isOpen = true;
  const close = async (empties: boolean) => {
    if (!isOpen) return;
    isOpen = false;
    try {
      if (empties) for (const name of await namesEnding(KEPT)) await fs.rm(join(folder, name));
      await leave();
    } catch (error) {
      throw fileError(folder, "removing the work folder", error);
    }
  };
  try {
    // What a killed process was writing.
    for (const name of await namesEnding(PARTIAL)) await fs.rm(join(folder, name), { force: true });
  } catch (error) {
    await lock.release();
    throw fileError(folder, "opening the work folder", error);
  }
  return {
    path: folder,
    async list() {
      try {
        return await list();
      } catch (error) {
        throw fileError(folder, "listing unfinished work", error);
      }
    },
    async read(name) {
      const path = place(name);
      try {
        // A pipe or a device would be read for ever.
        const found = await fs.stat(path);
        if (!found.isFile()) throw new PenjingError(path, "it is no file; remove it.");
        const bytes = await fs.readFile(path);
        return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      } catch (error) {
        if (errorCode(error) === "ENOENT") return undefined;
        throw fileError(path, "reading unfinished work", error);
      }
    },
    async write(name, bytes) {
      lock.check();
      const target = place(name);
      const partial = target + PARTIAL;
      try {
        // Not brought to the disk at once: who reads it checks it, and a power cut costs little.
        await fs.writeFile(partial, bytes);
        await fs.rename(partial, target);
      } catch (error) {
        await fs.rm(partial, { force: true }).catch(() => undefined);
        throw fileError(target, "keeping unfinished work", error);
      }
    },
    async remove(name) {
      try {
        await fs.rm(place(name), { force: true });
      } catch (error) {
        throw fileError(place(name), "removing finished work", error);
      }
    },
    clear: () => close(true),
    close: () => close(false),
  };
}
