import { PenjingError } from "../errors.js";
import { checkFileName, errorCode, fileError } from "./file-errors.js";
import { loadFiles, loadPaths, loadSystem } from "./node-modules.js";

/** A file being written. */
export interface ByteSink {
  /** What messages call it. */
  readonly name: string;
  /** Writes all of `bytes` at `offset`; the parts of a file may come in any order. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Brings the bytes safely to the disk and closes the file. Called once. */
  finish(): Promise<void>;
}

/**
 * A folder that is written beside its final name and takes that name only when it is complete:
 * whoever finds the final name finds everything or nothing new.
 */
export interface OutputFolder {
  /** The final path. */
  readonly path: string;
  /** Starts a file; `folder/name` makes the folder. The same name twice is an error. */
  create(name: string): Promise<ByteSink>;
  /** Writes a whole file of UTF-8 text. */
  writeText(name: string, text: string): Promise<void>;
  /** Gives the folder its final name. Every sink must be finished. */
  commit(): Promise<void>;
  /** Removes what was written. After `commit`, or a second time, it does nothing. */
  discard(): Promise<void>;
}

export interface OutputFolderOptions {
  /**
   * Replace an existing file or non-empty folder of this name once the new one is complete.
   *
   * @default false
   */
  readonly force?: boolean;
}

/** An output folder in memory whose committed files can be read. */
export interface MemoryOutputFolder extends OutputFolder {
  /** The files by name, once committed; empty before. */
  readonly files: Readonly<Record<string, Uint8Array>>;
}

/** An output folder in memory: for browsers, whose pages offer the files for download, and tests. */
export function memoryOutputFolder(path = "memory"): MemoryOutputFolder {
  const parts = new Map<string, Uint8Array>();
  const files: Record<string, Uint8Array> = Object.create(null);
  let unfinished = 0;
  const create = async (name: string): Promise<ByteSink> => {
    checkFileName(path, name);
    if (parts.has(name)) throw new PenjingError(`${path}/${name}`, "it was created before.");
    let buffer = new Uint8Array(1024);
    let size = 0;
    parts.set(name, buffer.subarray(0, 0));
    unfinished++;
    return {
      name: `${path}/${name}`,
      async write(offset, bytes) {
        const end = offset + bytes.byteLength;
        if (end > buffer.byteLength) {
          const larger = new Uint8Array(Math.max(end, buffer.byteLength * 2));
          larger.set(buffer.subarray(0, size));
          buffer = larger;
        }
        buffer.set(bytes, offset);
        size = Math.max(size, end);
      },
      async finish() {
        parts.set(name, buffer.slice(0, size));
        unfinished--;
      },
    };
  };
  return {
    path,
    files,
    create,
    async writeText(name, text) {
      const sink = await create(name);
      await sink.write(0, new TextEncoder().encode(text));
      await sink.finish();
    },
    async commit() {
      if (unfinished > 0) throw new PenjingError(path, `${unfinished} files are not finished.`);
      for (const [name, bytes] of parts) files[name] = bytes;
    },
    async discard() {
      parts.clear();
    },
  };
}

/** The names in a folder, `"file"` for anything that is not one, undefined for nothing. */
async function existing(path: string): Promise<string[] | "file" | undefined> {
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
        `it holds ${precious} and is never replaced, even with --force; choose another output.`,
      );
    }
  }
}

/** Makes the names in a folder survive a power cut. File systems that cannot are left alone. */
async function syncFolder(path: string): Promise<void> {
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

/**
 * Creates an output folder on disk. It is written at `<path>.partial-<process>-<random>` in the
 * same parent folder, which is created when missing. Node, Deno and Bun only.
 *
 * An existing file or non-empty folder at `path` is refused unless `force` is given; then it stays
 * in place until `commit`, which moves it aside, renames the new one and only then removes it.
 */
export async function createOutputFolder(
  path: string,
  options: OutputFolderOptions = {},
): Promise<OutputFolder> {
  const fs = await loadFiles();
  const { basename, dirname, join, resolve } = await loadPaths();
  // A symbolic link is followed, so that the link itself is never replaced by a folder.
  const target = await fs.realpath(resolve(path)).catch(() => resolve(path));
  const force = options.force ?? false;
  const refuseExisting = async (): Promise<boolean> => {
    const found = await existing(target);
    const occupied = found === "file" || (found !== undefined && found.length > 0);
    if (occupied && !force) {
      throw new PenjingError(
        target,
        found === "file"
          ? "a file of this name exists; choose another output or give --force to replace it."
          : "the folder exists and is not empty; choose another output or give --force to replace it.",
      );
    }
    return found !== undefined;
  };
  if ((await refuseExisting()) && force) await checkReplaceable(target);

  const suffix = `${process.pid}-${Math.random().toString(36).slice(2, 8)}`;
  const partial = join(dirname(target), `${basename(target)}.partial-${suffix}`);
  const unchanged = `nothing was written at ${target}`;
  try {
    await fs.mkdir(dirname(target), { recursive: true });
    await fs.mkdir(partial);
  } catch (error) {
    throw fileError(target, "creating the output folder", error, unchanged);
  }

  const open = new Set<Awaited<ReturnType<typeof fs.open>>>();
  const folders = new Set<string>([partial]);
  let state: "writing" | "committed" | "discarded" = "writing";
  const checkWriting = (): void => {
    if (state !== "writing") throw new PenjingError(target, `the output was already ${state}.`);
  };

  const create = async (name: string): Promise<ByteSink> => {
    checkFileName(target, name);
    checkWriting();
    const file = join(partial, name);
    const label = join(target, name);
    let handle: Awaited<ReturnType<typeof fs.open>>;
    try {
      if (dirname(file) !== partial) {
        await fs.mkdir(dirname(file), { recursive: true });
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
  };

  /** Renames `partial` to `target`, moving what stands there aside first. */
  const takeName = async (): Promise<void> => {
    const found = await existing(target);
    if (found === undefined) return fs.rename(partial, target);
    if (found !== "file" && found.length === 0) {
      await fs.rmdir(target);
      return fs.rename(partial, target);
    }
    const aside = join(dirname(target), `${basename(target)}.replaced-${suffix}`);
    await fs.rename(target, aside);
    try {
      await fs.rename(partial, target);
    } catch (error) {
      await fs.rename(aside, target).catch((second: unknown) => {
        const note = `the previous output is at ${aside} and the new one at ${partial}`;
        throw fileError(target, "restoring the previous output", second, note);
      });
      throw error;
    }
    state = "committed";
    try {
      await fs.rm(aside, { recursive: true });
    } catch (error) {
      const note = `the new output is complete at ${target}; remove ${aside} yourself`;
      throw fileError(aside, "removing the replaced output", error, note);
    }
  };

  return {
    path: target,
    create,
    async writeText(name, text) {
      const sink = await create(name);
      await sink.write(0, new TextEncoder().encode(text));
      await sink.finish();
    },
    async commit() {
      checkWriting();
      if (open.size > 0) throw new PenjingError(target, `${open.size} files are not finished.`);
      await refuseExisting();
      try {
        for (const folder of folders) await syncFolder(folder);
        await takeName();
        state = "committed";
        await syncFolder(dirname(target));
      } catch (error) {
        throw fileError(target, "giving the output its final name", error);
      }
    },
    async discard() {
      if (state !== "writing") return;
      state = "discarded";
      for (const handle of open) await handle.close().catch(() => undefined);
      open.clear();
      try {
        await fs.rm(partial, { recursive: true, force: true });
      } catch (error) {
        throw fileError(partial, "removing the unfinished output", error);
      }
    },
  };
}
