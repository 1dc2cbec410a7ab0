import { PenjingError } from "../errors.js";
import { checkFileName } from "./file-errors.js";
import type { WorkFolder } from "./work-folder.js";

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
  discard(options?: DiscardOptions): Promise<void>;
  /**
   * Where finished parts wait for the commit when there may be too many for memory. It goes with the
   * commit or the discard.
   *
   * @default memory
   */
  scratch?(): Promise<WorkFolder>;
}

export interface DiscardOptions {
  /** Leave what is kept in `scratch` on the disk for a later run. @default false */
  readonly keepScratch?: boolean | undefined;
}

export interface OutputFolderOptions {
  /**
   * Replace an existing file or non-empty folder of this name once the new one is complete.
   *
   * @default false
   */
  readonly force?: boolean | undefined;
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
