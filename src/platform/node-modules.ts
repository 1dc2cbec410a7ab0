/**
 * Modules of Node, which Deno and Bun have too, each loaded where it is first used. The portable
 * bundles have no-node-modules.ts in place of this file.
 */
export const loadFiles = () => import("node:fs/promises");
export const loadPaths = () => import("node:path");
export const loadSystem = () => import("node:os");
export const loadHashing = () => import("node:crypto");

/** Whether files are opened by paths here. */
export const HAS_FILES = true;

/** A variable of the environment; undefined where it is not set, or may not be read. */
export function variable(name: string): string | undefined {
  try {
    return process.env[name];
  } catch {
    // Deno asks first, and was told no.
    return undefined;
  }
}

/** Whether a package is installed where this one finds it. */
export function hasPackage(name: string): boolean {
  try {
    import.meta.resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** Dawn, WebGPU for runtimes without one of their own: the optional package `webgpu`. */
export async function loadDawn(): Promise<GPU> {
  // Held in a variable so that bundlers do not look for a package that may not be there.
  const name = "webgpu";
  const { create } = (await import(name)) as { create(flags: string[]): GPU };
  return create([]);
}

/** A thread that was started. */
export interface Thread {
  end(): void;
}

/** Starts a thread that calls the function whose text is `program` with a copy of `data`. */
export type StartThread = (program: string, data: object) => Thread;

/** How threads are started here, or undefined where there are none; and how many make sense. */
export interface Threading {
  readonly start: StartThread;
  /** Cores that this process may use. */
  readonly cores: number;
}

export async function loadThreading(): Promise<Threading | undefined> {
  const [{ Worker }, { availableParallelism }] = await Promise.all([
    import("node:worker_threads"),
    loadSystem(),
  ]);
  const start: StartThread = (program, data) => {
    const text = `import("node:worker_threads").then(({ workerData }) => (${program})(workerData));`;
    const worker = new Worker(text, { eval: true, workerData: data });
    // A waiting thread must not keep the process from ending, nor an error in its start end it.
    worker.unref();
    worker.on("error", () => {});
    return { end: () => void worker.terminate() };
  };
  return { start, cores: availableParallelism() };
}
