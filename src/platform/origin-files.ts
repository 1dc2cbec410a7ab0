/**
 * Folders in the file system that a browser keeps for a site (the origin private file system), for
 * outputs too large for memory, and folders that a user picked. `navigator.storage.getDirectory()`
 * gives the directory to put them in; it is undefined in insecure pages and some private windows.
 */
import { PenjingError } from "../errors.js";
import { checkFileName, errorCode, fileError } from "./file-errors.js";
import {
  type ByteSink,
  type Folder,
  memoryFolder,
  type OutputFolder,
  type OutputFolderOptions,
} from "./files.js";
import type { WorkFolder } from "./work-folder.js";

/** What is used of a browser's FileSystemDirectoryHandle. */
export interface DirectoryHandle {
  readonly name: string;
  entries(): AsyncIterable<[string, { readonly kind: "file" | "directory" }]>;
  getDirectoryHandle(name: string, options?: { create?: boolean }): Promise<DirectoryHandle>;
  getFileHandle(name: string, options?: { create?: boolean }): Promise<FileHandle>;
  removeEntry(name: string, options?: { recursive?: boolean }): Promise<void>;
}

/** What is used of a FileSystemFileHandle: workers have the first way to write, most pages the other. */
export interface FileHandle {
  getFile(): Promise<Blob>;
  createSyncAccessHandle?(): Promise<SyncFileAccess>;
  createWritable?(): Promise<FileWritable>;
}

export interface SyncFileAccess {
  write(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  flush(): void;
  close(): void;
}

export interface FileWritable {
  write(part: { type: "write"; position: number; data: Uint8Array<ArrayBuffer> }): Promise<unknown>;
  close(): Promise<unknown>;
  abort(): Promise<unknown>;
}

/** A file that is open for writing, whichever way. */
interface Opened {
  write(offset: number, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  finish(): Promise<void>;
  abandon(): Promise<void>;
}

async function openSync(handle: FileHandle): Promise<Opened> {
  const access = await handle.createSyncAccessHandle!();
  return {
    async write(offset, bytes) {
      for (let done = 0; done < bytes.byteLength; ) {
        const written = access.write(bytes.subarray(done), { at: offset + done });
        // Browsers that throw nothing on a full disk write nothing.
        if (written === 0) throw Object.assign(new Error("full"), { code: "QuotaExceededError" });
        done += written;
      }
    },
    async finish() {
      try {
        access.flush();
      } finally {
        access.close();
      }
    },
    abandon: async () => access.close(),
  };
}

async function openWritable(handle: FileHandle): Promise<Opened> {
  const writable = await handle.createWritable!();
  return {
    async write(position, data) {
      await writable.write({ type: "write", position, data });
    },
    async finish() {
      await writable.close();
    },
    async abandon() {
      await writable.abort();
    },
  };
}

async function openForWriting(handle: FileHandle, label: string): Promise<Opened> {
  if (handle.createSyncAccessHandle) return openSync(handle);
  if (handle.createWritable) return openWritable(handle);
  throw new PenjingError(label, "this browser writes files in workers only; call it in a worker.");
}

/** The file or directory that `step` reaches, or undefined when there is none. */
async function ifThere<T>(step: Promise<T>): Promise<T | undefined> {
  try {
    return await step;
  } catch (error) {
    if (errorCode(error) === "NotFoundError") return undefined;
    throw error;
  }
}

/** A file that a folder's name leads to holds the name of the directory with the folder's files. */
async function readPointer(directory: DirectoryHandle, name: string): Promise<string | undefined> {
  const handle = await ifThere(directory.getFileHandle(name));
  return handle && (await handle.getFile()).text();
}

/** A work folder in a directory of the site's storage, for as long as an output is written. */
function originWork(directory: DirectoryHandle): WorkFolder {
  const guard = async <T>(action: string, step: Promise<T>): Promise<T> => {
    try {
      return await step;
    } catch (error) {
      throw fileError(directory.name, action, error);
    }
  };
  const names = async () => {
    const found: string[] = [];
    for await (const [name] of directory.entries()) found.push(name);
    return found;
  };
  const remove = async (name: string) => void (await ifThere(directory.removeEntry(name)));
  return {
    path: directory.name,
    list: () => guard("listing unfinished work", names()),
    read: (name) =>
      guard(
        "reading unfinished work",
        (async () => {
          const file = await (await ifThere(directory.getFileHandle(name)))?.getFile();
          return file && new Uint8Array(await file.arrayBuffer());
        })(),
      ),
    write: (name, bytes) =>
      guard(
        "keeping unfinished work",
        (async () => {
          await remove(name);
          const opened = await openForWriting(await createFile(directory, name), name);
          await opened.write(0, bytes as Uint8Array<ArrayBuffer>);
          await opened.finish();
        })(),
      ),
    remove: (name) => guard("removing finished work", remove(name)),
    clear: async () => {
      for (const name of await names()) await guard("removing finished work", remove(name));
    },
    close: async () => {},
  };
}

/** Creates `folder/name` below a directory; no file of that name may be there. */
async function createFile(directory: DirectoryHandle, name: string): Promise<FileHandle> {
  let folder = directory;
  const parts = name.split("/");
  for (const part of parts.slice(0, -1)) {
    folder = await folder.getDirectoryHandle(part, { create: true });
  }
  return folder.getFileHandle(parts[parts.length - 1], { create: true });
}

/**
 * A read-only folder of a directory's files as they are now: those at its top level and one folder
 * below. A file that is changed afterwards can no longer be read. Browsers only.
 *
 * @param directory as `showDirectoryPicker()` gives it, for example
 * @param path what messages call it. @default its name
 */
export async function directoryFolder(
  directory: DirectoryHandle,
  path = directory.name,
): Promise<Folder> {
  const files: Record<string, Blob> = {};
  const collect = async (folder: DirectoryHandle, prefix: string, levels: number) => {
    for await (const [name, { kind }] of folder.entries()) {
      if (name.startsWith(".")) continue;
      if (kind === "file") {
        files[prefix + name] = await (await folder.getFileHandle(name)).getFile();
      } else if (levels > 0) {
        await collect(await folder.getDirectoryHandle(name), `${prefix}${name}/`, levels - 1);
      }
    }
  };
  try {
    await collect(directory, "", 1);
  } catch (error) {
    throw fileError(path, "listing the folder", error);
  }
  return memoryFolder(files, path);
}

/**
 * The directory with the files of a folder that `createOriginOutput` committed. Browsers only.
 *
 * @throws PenjingError when there is none of that name
 */
export async function originDirectory(
  directory: DirectoryHandle,
  name: string,
): Promise<DirectoryHandle> {
  checkName(directory, name);
  try {
    const data = await readPointer(directory, name);
    if (data !== undefined) return await directory.getDirectoryHandle(data);
  } catch (error) {
    throw fileError(name, "opening the folder in the site's storage", error);
  }
  throw new PenjingError(name, "there is no such folder in the site's storage; make it again.");
}

/**
 * Opens a folder that `createOriginOutput` committed. Browsers only.
 *
 * @throws PenjingError when there is none of that name
 */
export async function openOriginFolder(directory: DirectoryHandle, name: string): Promise<Folder> {
  return directoryFolder(await originDirectory(directory, name), name);
}

/** Removes a folder that `createOriginOutput` committed; nothing happens when there is none. */
export async function removeOriginFolder(directory: DirectoryHandle, name: string): Promise<void> {
  checkName(directory, name);
  try {
    const data = await readPointer(directory, name);
    if (data === undefined) return;
    await directory.removeEntry(name);
    await ifThere(directory.removeEntry(data, { recursive: true }));
  } catch (error) {
    throw fileError(name, "removing the folder from the site's storage", error);
  }
}

function checkName(directory: DirectoryHandle, name: string): void {
  checkFileName(directory.name || "storage", name);
  if (name.includes("/")) {
    throw new PenjingError(name, "a folder of the site's storage has a name without slashes.");
  }
}

/**
 * Creates an output folder in a site's storage. Its files go to a directory of another name, and
 * `commit` writes the small file that `openOriginFolder` finds it by, so that a page that is closed
 * in the middle leaves the folder before it as it was. Browsers only.
 *
 * @param directory of the origin private file system, as `navigator.storage.getDirectory()` gives it
 * @throws PenjingError when a folder of this name is there and `force` is not given
 */
export async function createOriginOutput(
  directory: DirectoryHandle,
  name: string,
  { force = false }: OutputFolderOptions = {},
): Promise<OutputFolder> {
  checkName(directory, name);
  const suffix = Math.random().toString(36).slice(2, 10);
  const data = `${name}.data-${suffix}`;
  const parts = `${name}.parts-${suffix}`;
  /** What stands under the name, as long as it may be replaced. */
  const findPrevious = async (): Promise<string | undefined> => {
    const previous = await readPointer(directory, name);
    if (previous === undefined || force) return previous;
    throw new PenjingError(
      name,
      "a folder of this name is in the site's storage; choose another name or give force.",
    );
  };
  let folder: DirectoryHandle;
  try {
    await findPrevious();
    folder = await directory.getDirectoryHandle(data, { create: true });
  } catch (error) {
    throw fileError(name, "creating the folder in the site's storage", error);
  }
  const created = new Set<string>();
  const open = new Set<Opened>();
  let state: "writing" | "committed" | "discarded" = "writing";
  const checkWriting = (): void => {
    if (state !== "writing") throw new PenjingError(name, `the output was already ${state}.`);
  };

  const create = async (file: string): Promise<ByteSink> => {
    checkFileName(name, file);
    checkWriting();
    const label = `${name}/${file}`;
    if (created.has(file)) throw new PenjingError(label, "it was created before.");
    created.add(file);
    let opened: Opened;
    try {
      opened = await openForWriting(await createFile(folder, file), label);
    } catch (error) {
      throw fileError(label, "creating the file", error);
    }
    open.add(opened);
    return {
      name: label,
      async write(offset, bytes) {
        try {
          await opened.write(offset, bytes as Uint8Array<ArrayBuffer>);
        } catch (error) {
          throw fileError(label, "writing", error);
        }
      },
      async finish() {
        open.delete(opened);
        try {
          await opened.finish();
        } catch (error) {
          throw fileError(label, "writing to the disk", error);
        }
      },
    };
  };

  const removeFolder = (one: string) => ifThere(directory.removeEntry(one, { recursive: true }));
  return {
    path: name,
    create,
    async scratch() {
      try {
        return originWork(await directory.getDirectoryHandle(parts, { create: true }));
      } catch (error) {
        throw fileError(name, "creating a folder in the site's storage", error);
      }
    },
    async writeText(file, text) {
      const sink = await create(file);
      await sink.write(0, new TextEncoder().encode(text));
      await sink.finish();
    },
    async commit() {
      checkWriting();
      if (open.size > 0) throw new PenjingError(name, `${open.size} files are not finished.`);
      try {
        const previous = await findPrevious();
        const pointer = await directory.getFileHandle(name, { create: true });
        // The second way replaces the file in one step, but few browsers have it in workers.
        const opened = await (pointer.createWritable ? openWritable : openSync)(pointer);
        await opened.write(0, new TextEncoder().encode(data));
        await opened.finish();
        state = "committed";
        if (previous) await removeFolder(previous);
        await removeFolder(parts);
      } catch (error) {
        throw fileError(name, "giving the output its final name", error);
      }
    },
    async discard() {
      if (state !== "writing") return;
      state = "discarded";
      for (const file of open) await file.abandon().catch(() => undefined);
      open.clear();
      try {
        await removeFolder(data);
        await removeFolder(parts);
      } catch (error) {
        throw fileError(name, "removing the unfinished output", error);
      }
    },
  };
}
