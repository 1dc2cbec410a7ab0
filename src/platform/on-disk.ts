import type { OutputFolder, OutputFolderOptions } from "./output-files.js";
import type { WorkFolder } from "./work-folder.js";

/**
 * Creates an output folder on disk. What is unfinished of it lies at `<path>.partial` in the same
 * parent folder, which is created when missing; no other process can begin this output until it is
 * committed or discarded, or this process has ended. Node, Deno and Bun only.
 *
 * An existing file or non-empty folder at `path` is refused unless `force` is given; then it stays in
 * place until `commit`, which moves it aside, renames the new one and only then removes it.
 *
 * @throws PenjingError also when another process is at work on the same output, or unfinished work of
 *   a compression lies there and `force` is not given
 */
export async function createOutputFolder(
  path: string,
  options: OutputFolderOptions = {},
): Promise<OutputFolder> {
  return (await import("./disk.js")).openDiskOutput(path, options);
}

/**
 * Opens a work folder on disk, made when missing; no other process can open it until it is closed or
 * cleared, or this process has ended. Node, Deno and Bun only.
 *
 * @throws PenjingError when the path is a file or a folder that holds anything else, or another
 *   process works there
 */
export async function openWorkFolder(path: string): Promise<WorkFolder> {
  return (await import("./disk.js")).openDiskWork(path);
}
