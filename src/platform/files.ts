import { PenjingError } from "../errors.js";
import { checkFileName, errorCode, fileError } from "./file-errors.js";
import { loadFiles, loadPaths } from "./node-modules.js";

export { createOutputFolder, openWorkFolder } from "./on-disk.js";
export {
  type ByteSink,
  type DiscardOptions,
  type MemoryOutputFolder,
  memoryOutputFolder,
  type OutputFolder,
  type OutputFolderOptions,
} from "./output-files.js";

/** Bytes of known length that are read by range: a file, a Blob, or memory. */
export interface ByteSource {
  /** What messages call it: the path or name of the file. */
  readonly name: string;
  /** Length in bytes when it was opened. */
  readonly size: number;
  /** Whether it is read over a network, in pieces of its own size. @default false */
  readonly isRemote?: boolean | undefined;
  /**
   * Copies `length` bytes from `offset` into a fresh buffer of its own (`byteOffset` 0, so that any
   * typed array can view it). A range outside the file, and a file that turns out shorter than
   * `size`, throw a PenjingError.
   */
  read(offset: number, length: number): Promise<Uint8Array>;
  /**
   * Left out where nothing can change the bytes, or a read would fail.
   *
   * @throws PenjingError when the file was written to since it was opened
   */
  checkUnchanged?(): Promise<void>;
  /** Frees the handle; a second call does nothing. */
  close(): Promise<void>;
}

/** A read-only folder of named files. */
export interface Folder {
  /** What messages call it; an absolute path under Node. */
  readonly path: string;
  /**
   * Names of the files at the top level, and `folder/name` of those one folder below, sorted by
   * code unit. Names and folders that begin with a dot are left out.
   */
  list(): Promise<string[]>;
  /** Opens a file by a name as `list` gives it. */
  open(name: string): Promise<ByteSource>;
  /** The text of a file of at most `maxBytes`, as it stands there; invalid UTF-8 is an error. */
  readText(name: string, maxBytes: number): Promise<string>;
  /** Whether a file (not a folder) of this name exists. */
  has(name: string): Promise<boolean>;
  /**
   * The symbolic links that lead out of the folder or to nothing, by the names that `list` gives, or
   * would give. Links into the Hugging Face cache that the folder is a snapshot of are not among them.
   *
   * @default there are none
   */
  links?(): Promise<ReadonlyMap<string, LinkTarget>>;
  /** Whether the files are read over a network, so that every read takes its time. @default false */
  readonly isRemote?: boolean | undefined;
  /** Begins to fetch the starts of files that will be opened. */
  prepare?(names: readonly string[]): void;
}

/** Where a symbolic link leads. */
export interface LinkTarget {
  readonly leads: "out" | "nowhere";
  /** A path: the real one, or the one that the link gives where nothing is. */
  readonly target: string;
}

/** Refuses a range that is not inside `[0, size)`. */
export function checkRange(name: string, size: number, offset: number, length: number): void {
  const valid =
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(length) &&
    offset >= 0 &&
    length >= 0 &&
    offset + length <= size;
  if (!valid) {
    throw new PenjingError(
      name,
      `${length} bytes at offset ${offset} were asked for, but the file has ${size} bytes; it may be cut short: fetch it again.`,
    );
  }
}

/** @throws PenjingError where there is no memory for so many bytes in one piece */
export function allocate(name: string, length: number): Uint8Array {
  try {
    return new Uint8Array(length);
  } catch (error) {
    throw new PenjingError(
      name,
      `no memory for ${length} bytes in one piece; read the data in parts or free memory.`,
      { cause: error },
    );
  }
}

/** Decodes UTF-8 strictly, a byte order mark included. */
function strictText(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new PenjingError(name, "its bytes are not valid UTF-8 text; fetch the file again.", {
      cause: error,
    });
  }
}

export async function readSmallText(source: ByteSource, maxBytes: number): Promise<string> {
  if (source.size > maxBytes) {
    throw new PenjingError(
      source.name,
      `it has ${source.size} bytes, more than the ${maxBytes} accepted for a text file of its kind; check that it is the right file.`,
    );
  }
  return strictText(source.name, await source.read(0, source.size));
}

/** A source over bytes in memory. Reads are copies. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    async read(offset, length) {
      checkRange(name, bytes.byteLength, offset, length);
      return Uint8Array.from(bytes.subarray(offset, offset + length));
    },
    async close() {},
  };
}

/** A source over a `Blob` or a `File` from a file input; only the ranges asked for are loaded. */
export function blobSource(blob: Blob, name = (blob as File).name ?? "blob"): ByteSource {
  return {
    name,
    size: blob.size,
    async read(offset, length) {
      checkRange(name, blob.size, offset, length);
      try {
        return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (error) {
        throw fileError(name, `reading ${length} bytes at offset ${offset}`, error);
      }
    },
    async close() {},
  };
}

/** A folder over named bytes, texts or Blobs: for browsers and for tests. */
export function memoryFolder(
  files: Readonly<Record<string, Uint8Array | string | Blob>>,
  path = "memory",
): Folder {
  const entries = new Map(Object.entries(files));
  const open = async (name: string): Promise<ByteSource> => {
    const content = entries.get(name);
    const label = `${path}/${name}`;
    if (content === undefined) {
      throw new PenjingError(
        label,
        `there is no such file; the folder holds: ${[...entries.keys()].join(", ") || "nothing"}.`,
      );
    }
    if (content instanceof Uint8Array) return memorySource(label, content);
    if (typeof content === "string") return memorySource(label, new TextEncoder().encode(content));
    return blobSource(content, label);
  };
  return {
    path,
    list: async () =>
      [...entries.keys()]
        .filter((name) => !/(^|\/)\./.test(name) && name.split("/").length <= 2)
        .sort(),
    open,
    readText: async (name, maxBytes) => readSmallText(await open(name), maxBytes),
    has: async (name) => entries.has(name),
  };
}

/** Opens a file by path for ranged reads. Node, Deno and Bun only. */
export async function openFile(path: string): Promise<ByteSource> {
  const { open, stat } = await loadFiles();
  let handle: Awaited<ReturnType<typeof open>> | undefined;
  let found: Awaited<ReturnType<typeof stat>>;
  try {
    const kind = await stat(path);
    if (kind.isDirectory()) throw Object.assign(new Error("is a folder"), { code: "EISDIR" });
    // Not opened to find out: that would wait for whoever writes into a named pipe.
    if (!kind.isFile()) throw new PenjingError(path, "it is not a regular file; give a file.");
    handle = await open(path, "r");
    found = await handle.stat();
  } catch (error) {
    await handle?.close();
    throw fileError(path, "opening", error);
  }
  const file = handle;
  const { size, mtimeMs } = found;
  let closed = false;
  return {
    name: path,
    size,
    async read(offset, length) {
      checkRange(path, size, offset, length);
      const bytes = allocate(path, length);
      let done = 0;
      while (done < length) {
        // Node refuses a single read of 2 GiB or more.
        const part = Math.min(length - done, 1 << 30);
        let bytesRead: number;
        try {
          ({ bytesRead } = await file.read(bytes, done, part, offset + done));
        } catch (error) {
          throw fileError(path, `reading ${length} bytes at offset ${offset}`, error);
        }
        if (bytesRead === 0) {
          throw new PenjingError(
            path,
            `the file ended at byte ${offset + done} while ${length} bytes at offset ${offset} were read; it had ${size} bytes when opened and was changed since: run again when nothing writes to it.`,
          );
        }
        done += bytesRead;
      }
      return bytes;
    },
    async checkUnchanged() {
      const now = await file.stat();
      if (now.size === size && now.mtimeMs === mtimeMs) return;
      throw new PenjingError(
        path,
        "it was written to while it was read, so that what was read of it may not fit together; run again when nothing writes to it.",
      );
    },
    async close() {
      if (closed) return;
      closed = true;
      await file.close();
    },
  };
}

/** The folder of a model in the Hugging Face cache whose snapshot `path` is; undefined for others. */
function cacheOf(
  path: string,
  { basename, dirname }: Awaited<ReturnType<typeof loadPaths>>,
): string | undefined {
  const snapshots = dirname(path);
  const cache = dirname(snapshots);
  const isSnapshot = basename(snapshots) === "snapshots" && basename(cache).startsWith("models--");
  return isSnapshot ? cache : undefined;
}

/** Opens a folder by path. Node, Deno and Bun only. */
export async function openFolder(path: string): Promise<Folder> {
  const { readdir, stat } = await loadFiles();
  const { join, resolve, sep } = await loadPaths();
  const root = resolve(path);
  try {
    if (!(await stat(root)).isDirectory()) {
      throw new PenjingError(root, "it is a file, not a folder; give the folder that holds it.");
    }
  } catch (error) {
    throw fileError(root, "opening the folder", error);
  }

  /**
   * Names directly in `folder`; a symbolic link counts as what it leads to, and one that leads to
   * nothing is no file.
   */
  const scan = async (
    folder: string,
  ): Promise<Record<"files" | "folders" | "broken", string[]>> => {
    const files: string[] = [];
    const folders: string[] = [];
    const broken: string[] = [];
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (entry.name.startsWith(".")) continue;
      const kind = entry.isSymbolicLink()
        ? await stat(join(folder, entry.name)).catch(() => undefined)
        : entry;
      if (kind?.isFile()) files.push(entry.name);
      else if (kind?.isDirectory()) folders.push(entry.name);
      else if (!kind) broken.push(entry.name);
    }
    return { files, folders, broken };
  };
  const list = async (kind: "files" | "broken"): Promise<string[]> => {
    try {
      const { folders, ...top } = await scan(root);
      const names = top[kind];
      for (const folder of folders) {
        const below = await scan(join(root, folder));
        for (const name of below[kind]) names.push(`${folder}/${name}`);
      }
      return names.sort();
    } catch (error) {
      throw fileError(root, "listing the folder", error);
    }
  };
  const open = async (name: string): Promise<ByteSource> => {
    checkFileName(root, name);
    return openFile(join(root, name));
  };
  return {
    path: root,
    list: () => list("files"),
    async links() {
      const { readlink, realpath } = await loadFiles();
      const home = await realpath(root);
      const allowed = [home, cacheOf(home, await loadPaths()) ?? home];
      const links = new Map<string, LinkTarget>();
      for (const name of await list("files")) {
        const target = await realpath(join(root, name)).catch(() => root);
        if (allowed.some((folder) => target.startsWith(join(folder, sep)))) continue;
        links.set(name, { leads: "out", target });
      }
      for (const name of await list("broken")) {
        const target = await readlink(join(root, name)).catch(() => name);
        links.set(name, { leads: "nowhere", target });
      }
      return links;
    },
    open,
    async readText(name, maxBytes) {
      const source = await open(name);
      try {
        return await readSmallText(source, maxBytes);
      } finally {
        await source.close();
      }
    },
    async has(name) {
      checkFileName(root, name);
      try {
        return (await stat(join(root, name))).isFile();
      } catch (error) {
        if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return false;
        throw fileError(join(root, name), "looking for the file", error);
      }
    },
  };
}
