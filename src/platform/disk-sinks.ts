/** Files being written to a folder on disk. */
import { PenjingError } from "../errors.js";
import { fileError } from "./file-errors.js";
import { makeFolders } from "./make-folders.js";
import { loadFiles, loadPaths } from "./node-modules.js";
import type { ByteSink } from "./output-files.js";

/** The files of an output while they are written. */
export interface DiskSinks {
  /** The folder and those that were made in it. */
  readonly folders: ReadonlySet<string>;
  /** Starts a file of a name that was checked. */
  create(name: string): Promise<ByteSink>;
  /** @throws PenjingError while files are open */
  checkFinished(): void;
  /** Closes what is open, whatever becomes of it. */
  closeAll(): Promise<void>;
}

/**
 * Files in a folder that is there.
 *
 * @param folder where they are written
 * @param shown where they will be, for messages
 * @param unchanged a last clause of messages on what state the disk is left in
 */
export async function openSinks(
  folder: string,
  shown: string,
  unchanged: string,
): Promise<DiskSinks> {
  const fs = await loadFiles();
  const { dirname, join } = await loadPaths();
  const open = new Set<Awaited<ReturnType<typeof fs.open>>>();
  const folders = new Set<string>([folder]);
  return {
    folders,
    async create(name) {
      const file = join(folder, name);
      const label = join(shown, name);
      let handle: Awaited<ReturnType<typeof fs.open>>;
      try {
        if (dirname(file) !== folder) {
          await makeFolders(dirname(file));
          folders.add(dirname(file));
        }
        handle = await fs.open(file, "wx");
      } catch (error) {
        throw fileError(label, "creating the file", error, unchanged);
      }
      open.add(handle);
      return {
        name: label,
        async write(offset, bytes) {
          try {
            for (let done = 0; done < bytes.byteLength; ) {
              // Node refuses a single write of 2 GiB or more.
              const part = Math.min(bytes.byteLength - done, 1 << 30);
              done += (await handle.write(bytes, done, part, offset + done)).bytesWritten;
            }
          } catch (error) {
            throw fileError(label, "writing", error, unchanged);
          }
        },
        async finish() {
          try {
            await handle.sync();
          } catch (error) {
            throw fileError(label, "writing to the disk", error, unchanged);
          } finally {
            open.delete(handle);
            await handle.close();
          }
        },
      };
    },
    checkFinished() {
      if (open.size > 0) throw new PenjingError(shown, `${open.size} files are not finished.`);
    },
    async closeAll() {
      for (const handle of open) await handle.close().catch(() => undefined);
      open.clear();
    },
  };
}
