import { PenjingError } from "../errors.js";
import type { StartThread, Threading } from "./node-modules.js";

/** What node-modules.ts and both disk.ts are replaced by where there are no files to open by path. */
async function refuse(): Promise<never> {
  throw new PenjingError(
    "files",
    "this build of penjing opens no paths, as browsers and workers have no file system; give folders in memory or over Blobs instead (memoryFolder, memoryOutputFolder, memoryWorkFolder).",
  );
}

export const loadFiles = refuse;
export const loadPaths = refuse;
export const loadSystem = refuse;
export const loadHashing = refuse;

export const HAS_FILES = false;

export function variable(_: string): undefined {}

export const hasPackage = (_: string): boolean => false;

export const openDiskFiles = refuse;
export const openDiskOutput = refuse;
export const openDiskWork = refuse;
export const partialPath = refuse;
export const findCached = refuse;
export const removePartial = refuse;

export async function* downloadSteps(): AsyncGenerator<never, void, void> {
  yield await refuse();
}

export async function loadDawn(): Promise<never> {
  throw new PenjingError("webgpu", "this build of penjing uses the runtime's own WebGPU only.");
}

/** Threads are dedicated workers; memory can be shared with them on cross-origin-isolated pages only. */
export async function loadThreading(): Promise<Threading | undefined> {
  if (typeof Worker === "undefined" || globalThis.crossOriginIsolated === false) return undefined;
  const start: StartThread = (program, data) => {
    const text = `onmessage = ({ data }) => (${program})(data);`;
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    const worker = new Worker(url);
    worker.onerror = (event) => event.preventDefault();
    worker.postMessage(data);
    return {
      end() {
        worker.terminate();
        URL.revokeObjectURL(url);
      },
    };
  };
  return { start, cores: navigator.hardwareConcurrency };
}
