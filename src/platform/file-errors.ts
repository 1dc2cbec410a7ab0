import { PenjingError } from "../errors.js";

/** What a system error code means to somebody who reads and writes model folders, and its cure. */
const MEANING: Readonly<Record<string, string>> = {
  EACCES: "permission is denied; grant this user access to the path or choose another one",
  EPERM:
    "the operation is not permitted; check the owner and flags of the path or choose another one",
  EROFS: "the file system is read-only; choose a path on a writable one",
  ENOSPC: "the disk is full; free space there or choose an output on another disk",
  EDQUOT: "the disk quota is used up; free space there or choose an output on another disk",
  EFBIG: "the file would be larger than the file system allows; choose smaller shards",
  EISDIR: "it is a folder where a file is needed; give the path of a file",
  ERR_FS_EISDIR: "a folder is where a file is to be; remove that folder",
  ENOENT: "there is nothing at this path; check its spelling",
  ENOTDIR: "a part of the path is a file where a folder is needed; check the path",
  EEXIST: "something is already there; choose another path",
  ENOTEMPTY: "the folder there is not empty; choose another path",
  EBUSY: "it is in use by the system; close what uses it or choose another path",
  EXDEV: "the two paths are on different file systems; choose paths on the same one",
  EMFILE: "too many files are open in this process; raise the limit (ulimit -n)",
  ENFILE: "too many files are open on this system; close some programs",
  ELOOP: "the symbolic links at this path form a loop; check the path",
  ENAMETOOLONG: "the name is longer than the file system allows; choose a shorter one",
  EIO: "the disk reported an input/output error; check the disk",
  QuotaExceededError:
    "the browser's storage for this site is full; free space on the disk or delete data of other sites",
  NotReadableError:
    "the file was changed, moved or locked since it was chosen; choose the folder again",
  NotFoundError: "it is no longer there; choose the folder again",
  NotAllowedError: "the browser does not allow it; choose the folder again and permit the access",
  NoModificationAllowedError: "it is open elsewhere, in another tab perhaps; close that one",
};

/**
 * The `code` of a system error such as `ENOENT`, the name of a browser's such as `NotFoundError`, or
 * undefined for any other value.
 */
export function errorCode(error: unknown): string | undefined {
  if (error instanceof DOMException) return error.name;
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/**
 * Turns what a file operation threw into a PenjingError that names the path, what was being done,
 * what happened and the cure. A PenjingError passes through unchanged.
 *
 * @param action what was being done, as in "reading" or "creating the folder"
 * @param consequence a last clause on what state the disk is left in
 */
export function fileError(
  path: string,
  action: string,
  error: unknown,
  consequence?: string,
): PenjingError {
  if (error instanceof PenjingError) return error;
  const code = errorCode(error);
  const reason = error instanceof Error ? error.message : String(error);
  const meaning = code !== undefined && Object.hasOwn(MEANING, code) ? MEANING[code] : reason;
  const tail = consequence ? `; ${consequence}` : "";
  return new PenjingError(
    path === "" ? 'the path ""' : path,
    `${action} failed${code ? ` (${code})` : ""}: ${meaning}${tail}.`,
    error instanceof Error ? { cause: error } : undefined,
  );
}

/**
 * Refuses a name that could reach outside its folder: absolute, with a `..`, `.` or empty segment,
 * with a backslash, a drive letter or a NUL.
 */
export function checkFileName(where: string, name: string): void {
  const bad =
    name.length === 0 ||
    /\\|\0|^[A-Za-z]:/.test(name) ||
    name.split("/").some((part) => part === "" || part === "." || part === "..");
  if (bad) {
    throw new PenjingError(
      where,
      `${JSON.stringify(name)} is not a plain file name; a name has no "..", backslash, drive letter or leading slash.`,
    );
  }
}

/** Most parts of a GGUF file that was split. */
const MAX_PARTS = 10_000;

/** The names of the parts that a GGUF file's name says it is one of; undefined for a whole file's. */
export function partNames(name: string): string[] | undefined {
  const [, stem, number, count] = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i.exec(name) ?? [];
  const parts = Number(count);
  if (stem === undefined || Number(number) < 1 || Number(number) > parts || parts > MAX_PARTS) {
    return undefined;
  }
  const ending = name.slice(-".gguf".length);
  return Array.from({ length: parts }, (_, i) => {
    return `${stem}-${String(i + 1).padStart(5, "0")}-of-${count}${ending}`;
  });
}
