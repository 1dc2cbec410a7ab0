/**
 * A folder in which unfinished work is kept, so that the next run goes on from it. A file in it is
 * written whole or not at all.
 */
export interface WorkFolder {
  readonly path: string;
  /** Names of the files that are kept, in any order. */
  list(): Promise<string[]>;
  /** A file's bytes in a buffer of their own, or undefined when there is none. */
  read(name: string): Promise<Uint8Array | undefined>;
  /** The bytes may be kept as they are: whoever gives them does not change them afterwards. */
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Removes a file; nothing happens when there is none. */
  remove(name: string): Promise<void>;
  /** Removes every file that was kept, and the folder when nothing else is in it. */
  clear(): Promise<void>;
  /** Lets others work in the folder, and removes it when nothing is kept there. */
  close(): Promise<void>;
}

/** A work folder in memory: for browsers, for tests, and for what need not outlive the process. */
export function memoryWorkFolder(path = "memory"): WorkFolder {
  const files = new Map<string, Uint8Array>();
  return {
    path,
    async list() {
      return [...files.keys()];
    },
    async read(name) {
      return files.get(name)?.slice();
    },
    async write(name, bytes) {
      files.set(name, bytes);
    },
    async remove(name) {
      files.delete(name);
    },
    async clear() {
      files.clear();
    },
    async close() {},
  };
}
