/**
 * The cache on the disk, laid out as Python's huggingface_hub lays it out, which finds there what was
 * downloaded here, and the other way round:
 *
 *   models--org--name/refs/main          the commit that the revision was at
 *   models--org--name/blobs/TAG          a file by its checksum; TAG.incomplete while it arrives
 *   models--org--name/snapshots/COMMIT/  relative symbolic links to the blobs, or the files themselves
 *   .locks/models--org--name/lock        held while something is downloaded
 *
 * Python locks each blob beside that lock with flock(2), which Node does not have, so the two do not wait
 * for each other. They need not: both write under names of their own, and rename what is whole.
 */
import { PenjingError } from "../errors.js";
import { errorCode, fileError, partNames } from "../platform/file-errors.js";
import { openFolder } from "../platform/files.js";
import { freeDisk } from "../platform/free-disk.js";
import { HeldError, type Lock, lockFolder } from "../platform/lock.js";
import { makeFolders } from "../platform/make-folders.js";
import { loadFiles, loadPaths } from "../platform/node-modules.js";
import { quote } from "../quote.js";
import { settlesWithin, sleep } from "../run.js";
import { type HubName, noPath, textOf } from "./names.js";
import type { RepositoryFile } from "./repository.js";

const COMMIT = /^[0-9a-f]{40}$/;
const WEIGHTS = /\.safetensors(\.index\.json)?$/;

/** How often a lock that another process holds is tried, in milliseconds. */
const TRY_MS = 250;
/** A process on another machine that is alive shows it in less, in milliseconds. */
const SIGN_MS = 3000;

type MakeLink = (target: string, path: string) => Promise<void>;

/** A snapshot that the cache holds. */
export interface Snapshot {
  readonly commit: string;
  /** The folder, or the file that the name is of. */
  readonly path: string;
  readonly folder: string;
  /** Names of files in the folder. */
  readonly files: readonly string[];
}

/** The part of the cache that holds one repository. */
export class Cache {
  private constructor(
    private readonly name: HubName,
    private readonly folder: string,
    private readonly locks: string,
    private readonly join: (...parts: string[]) => string,
  ) {}

  /** @param root the folder of the whole cache, absolute */
  static async of(root: string, name: HubName): Promise<Cache> {
    const { join } = await loadPaths();
    const own = `${name.kind}--${name.repository.replaceAll("/", "--")}`;
    return new Cache(name, join(root, own), join(root, ".locks", own), join);
  }

  /** Where the file with a tag lies once it is whole. */
  blob(tag: string): string {
    return this.join(this.folder, "blobs", tag);
  }

  snapshot(commit: string): string {
    return this.join(this.folder, "snapshots", commit);
  }

  private refs(revision: string): string {
    return this.join(this.folder, "refs", ...revision.split("/"));
  }

  /**
   * Makes the folders, and keeps other processes from downloading the same repository. One that does so
   * just now is waited for until it has ended.
   *
   * @param tell hears of the wait, once
   * @throws the signal's reason when it was aborted
   */
  async lock(signal: AbortSignal, tell: (note: string) => void): Promise<Lock> {
    try {
      await makeFolders(this.join(this.folder, "blobs"));
      await makeFolders(this.locks);
    } catch (error) {
      throw fileError(this.folder, "making the cache", error);
    }
    let isTold = false;
    const tellOnce = (what: string) => {
      if (!isTold) tell(`${what} (Ctrl-C, in code \`signal\`, stops the wait)`);
      isTold = true;
    };
    for (;;) {
      const locking = lockFolder(this.locks, signal);
      if (!(await settlesWithin(locking, SIGN_MS))) {
        tellOnce(
          "a process on another machine locked it; waiting for a sign of life from that one",
        );
      }
      try {
        return await locking;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof HeldError)) throw fileError(this.locks, "locking the cache", error);
        tellOnce(`${error.holder} downloads it just now; waiting until that has ended`);
      }
      await sleep(TRY_MS, signal);
    }
  }

  /** Bytes that may still be written where the cache is; undefined where nobody tells. */
  freeBytes(): Promise<number | undefined> {
    return freeDisk(this.folder);
  }

  /** Whether a file is in a snapshot as the hub has it. */
  async holds(commit: string, { path, size, tag }: RepositoryFile): Promise<boolean> {
    const { readlink, stat } = await loadFiles();
    const at = this.join(this.snapshot(commit), ...path.split("/"));
    const found = await stat(at).catch(() => undefined);
    if (!found?.isFile() || found.size !== size) return false;
    const target = await readlink(at).catch(() => undefined);
    return target === undefined || target.split(/[\\/]/).at(-1) === tag;
  }

  /** Puts a file, which lies whole at `blob`, into a snapshot. */
  async place(commit: string, { path, tag }: RepositoryFile, makeLink?: MakeLink): Promise<void> {
    const { copyFile, rename, rm, symlink } = await loadFiles();
    const { dirname, relative } = await loadPaths();
    const at = this.join(this.snapshot(commit), ...path.split("/"));
    const blob = this.blob(tag);
    try {
      await makeFolders(dirname(at));
      await rm(at, { force: true });
      try {
        await (makeLink ?? symlink)(relative(dirname(at), blob), at);
      } catch (error) {
        // Windows gives links to few. A copy gets its name when it is whole.
        if (!["EPERM", "EACCES", "ENOSYS", "ENOTSUP"].includes(errorCode(error) ?? "")) throw error;
        await copyFile(blob, `${at}.incomplete`);
        await rename(`${at}.incomplete`, at);
      }
    } catch (error) {
      throw fileError(at, "writing", error);
    }
  }

  /** Notes where a revision is. */
  async setRevision(revision: string, commit: string): Promise<void> {
    if (revision === commit) return;
    const { writeFile } = await loadFiles();
    const path = this.refs(revision);
    try {
      await makeFolders((await loadPaths()).dirname(path));
      await writeFile(path, commit);
    } catch (error) {
      throw fileError(path, "writing", error);
    }
  }

  /** The commit that a revision was at when it was last downloaded; undefined when it never was. */
  private async commitOf(revision: string): Promise<string | undefined> {
    if (COMMIT.test(revision)) return revision;
    const { readFile } = await loadFiles();
    const text = await readFile(this.refs(revision), "utf8").catch(() => "");
    return COMMIT.test(text.trim()) ? text.trim() : undefined;
  }

  /**
   * What the cache holds, without asking anybody.
   *
   * @throws PenjingError when it is not there, or not whole as far as that shows
   */
  async find(): Promise<Snapshot> {
    const { revision = "main", file } = this.name;
    const fail = (what: string): never => {
      throw new PenjingError(
        textOf(this.name),
        `${what}; run once without \`offline\` (HF_HUB_OFFLINE) to download it.`,
      );
    };
    const commit = await this.commitOf(revision);
    const path = commit && this.snapshot(commit);
    const folder = path && (await openFolder(path).catch(() => undefined));
    if (!commit || !folder)
      return fail(`${noPath(this.name)}the cache at ${quote(this.folder)} does not hold it`);
    for (const [name, { leads }] of await folder.links!()) {
      if (leads !== "nowhere" || (file !== undefined && file !== name)) continue;
      fail(`in the cache ${quote(name)} is a link to a file that is not there`);
    }
    const names = await folder.list();
    if (file !== undefined) {
      if (!(await folder.has(file))) fail("the cache holds other files of it, and not this one");
      const files = partNames(file) ?? [file];
      for (const part of files) {
        if (!(await folder.has(part))) {
          fail(`the cache holds a part of the ${files.length} files of it, without ${quote(part)}`);
        }
      }
      return { commit, path: this.join(path, ...file.split("/")), folder: path, files };
    }
    if (!names.includes("config.json") || !names.some((name) => WEIGHTS.test(name))) {
      fail("the cache holds a part of it, without configuration or weights");
    }
    return { commit, path, folder: path, files: names };
  }
}
