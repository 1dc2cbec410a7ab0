import { PenjingError } from "../errors.js";

/** What node-modules.ts is replaced by where there are no files to open by path. */
async function refuse(): Promise<never> {
  throw new PenjingError(
    "files",
    "this build of penjing opens no paths, as browsers and workers have no file system; give folders in memory or over Blobs instead (memoryFolder, memoryOutputFolder, memoryWorkFolder).",
  );
}

export const loadFiles = refuse;
export const loadPaths = refuse;
export const loadSystem = refuse;

export async function loadDawn(): Promise<never> {
  throw new PenjingError("webgpu", "this build of penjing uses the runtime's own WebGPU only.");
}
