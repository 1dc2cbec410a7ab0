import { loadFiles, loadPaths } from "./node-modules.js";

/**
 * Bytes that this user may still write to the disk that a path is on. A path that is not there counts
 * as on the disk of the nearest folder above it. Nothing is thrown.
 *
 * @returns undefined where nobody tells: in browsers and workers, and where it may not be asked
 */
export async function freeDisk(path: string): Promise<number | undefined> {
  try {
    const { statfs } = await loadFiles();
    const { dirname, resolve } = await loadPaths();
    for (let at = resolve(path); ; at = dirname(at)) {
      try {
        const { bavail, bsize } = await statfs(at);
        return bavail * bsize;
      } catch (error) {
        if (dirname(at) === at) throw error;
      }
    }
  } catch {
    return undefined;
  }
}
