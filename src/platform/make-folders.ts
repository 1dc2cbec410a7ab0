import { errorCode } from "./file-errors.js";
import { loadFiles, loadPaths } from "./node-modules.js";

/** Times that a folder is made anew which another process removes at the same moment. */
const TRIES = 3;

/**
 * Makes a folder with all above it; one that is there is left as it is. Node's own `recursive` does not end
 * where a file system makes no folders and says that there is nothing, as /proc does.
 *
 * @throws the system's error
 */
export async function makeFolders(path: string): Promise<void> {
  const { mkdir, stat } = await loadFiles();
  const { dirname } = await loadPaths();
  const isFolder = async (path: string) =>
    (await stat(path).catch(() => undefined))?.isDirectory() === true;
  const parent = dirname(path);
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      await mkdir(path);
      return;
    } catch (error) {
      if (await isFolder(path)) return;
      if (errorCode(error) !== "ENOENT" || parent === path) throw error;
      if (!(await isFolder(parent))) await makeFolders(parent);
    }
  }
  const message = "the file system there makes no folders; choose another path";
  throw Object.assign(new Error(message), { code: "ENOTSUP" });
}
