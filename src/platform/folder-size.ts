import { loadFiles, loadPaths } from "./node-modules.js";

export interface FolderSize {
  /** Bytes of the files in it, as long as they are; what symbolic links lead to is not counted. */
  readonly bytes: number;
  /** Whether all were counted. */
  readonly isWhole: boolean;
}

/**
 * Counts the bytes of a folder's files; a folder that is not there, or may not be read, has none. Node,
 * Deno and Bun only.
 *
 * @param limits milliseconds after which the counting ends, and a signal that ends it at once
 * @throws the signal's reason when it is aborted
 */
export async function folderSize(
  path: string,
  limits: { readonly milliseconds: number; readonly signal?: AbortSignal | undefined },
): Promise<FolderSize> {
  const { lstat, readdir } = await loadFiles();
  const { join } = await loadPaths();
  const end = performance.now() + limits.milliseconds;
  const left = [path];
  let bytes = 0;
  for (let folder = left.pop(); folder !== undefined; folder = left.pop()) {
    limits.signal?.throwIfAborted();
    if (performance.now() > end) return { bytes, isWhole: false };
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
      const at = join(folder, entry.name);
      if (entry.isDirectory()) left.push(at);
      // A file that goes meanwhile has none either.
      else if (entry.isFile())
        bytes += await lstat(at).then(
          ({ size }) => size,
          () => 0,
        );
    }
  }
  return { bytes, isWhole: true };
}
