import { PenjingError } from "../errors.js";
import { checkFileName, errorCode, fileError } from "./file-errors.js";
import { loadFiles, loadPaths } from "./node-modules.js";

/**
 * A folder in which unfinished work is kept, so that the next run goes on from it. A file in it is
 * written whole or not at all.
 */
export interface WorkFolder {
  readonly path: string;
  /** A file's bytes in a buffer of their own, or undefined when there is none. */
  read(name: string): Promise<Uint8Array | undefined>;
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Removes a file; nothing happens when there is none. */
  remove(name: string): Promise<void>;
  /** Removes every file that was kept, and the folder when nothing else is in it. */
  clear(): Promise<void>;
}

/** A work folder in memory: for browsers, for tests, and for what need not outlive the process. */
export function memoryWorkFolder(path = "memory"): WorkFolder {
  const files = new Map<string, Uint8Array>();
  return {
    path,
    async read(name) {
      return files.get(name)?.slice();
    },
    async write(name, bytes) {
      files.set(name, bytes.slice());
    },
    async remove(name) {
      files.delete(name);
    },
    async clear() {
      files.clear();
    },
  };
}

/** Its presence says that a folder was made here. */
const MARKER = ".penjing-work";
/** What names of kept files end in on disk, and while they are written. */
const KEPT = ".kept";
const PARTIAL = ".partial";

/**
 * Opens a work folder on disk, made when missing. Node, Deno and Bun only.
 *
 * @throws PenjingError when the path is a file or a folder that holds anything else
 */
export async function openWorkFolder(path: string): Promise<WorkFolder> {
  const fs = await loadFiles();
  const { join, resolve } = await loadPaths();
  const folder = resolve(path);
  let names: string[];
  try {
    await fs.mkdir(folder, { recursive: true });
    names = await fs.readdir(folder);
    if (names.length === 0) await fs.writeFile(join(folder, MARKER), "");
  } catch (error) {
    throw fileError(folder, "opening the work folder", error);
  }
  if (names.length > 0 && !names.includes(MARKER)) {
    throw new PenjingError(
      folder,
      "it holds files that are not unfinished work of penjing; give a new or empty folder.",
    );
  }
  // What a killed process was writing.
  for (const name of names.filter((one) => one.endsWith(PARTIAL))) {
    await fs.rm(join(folder, name), { force: true });
  }
  const place = (name: string): string => {
    checkFileName(folder, name);
    return join(folder, name + KEPT);
  };
  return {
    path: folder,
    async read(name) {
      try {
        const bytes = await fs.readFile(place(name));
        return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      } catch (error) {
        if (errorCode(error) === "ENOENT") return undefined;
        throw fileError(place(name), "reading unfinished work", error);
      }
    },
    async write(name, bytes) {
      const target = place(name);
      const partial = target + PARTIAL;
      try {
        const handle = await fs.open(partial, "w");
        try {
          for (let done = 0; done < bytes.byteLength; ) {
            // Node refuses a single write of 2 GiB or more.
            const part = Math.min(bytes.byteLength - done, 1 << 30);
            done += (await handle.write(bytes, done, part)).bytesWritten;
          }
          await handle.sync();
        } finally {
          await handle.close();
        }
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
    async clear() {
      try {
        const own = (name: string) =>
          name === MARKER || name.endsWith(KEPT) || name.endsWith(PARTIAL);
        for (const name of (await fs.readdir(folder)).filter(own)) await fs.rm(join(folder, name));
        if ((await fs.readdir(folder)).length === 0) await fs.rmdir(folder);
      } catch (error) {
        throw fileError(folder, "removing the work folder", error);
      }
    },
  };
}
