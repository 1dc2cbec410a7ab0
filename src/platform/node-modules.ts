/**
 * Modules of Node, which Deno and Bun have too, each loaded where it is first used. The portable
 * bundles have no-node-modules.ts in place of this file.
 */
export const loadFiles = () => import("node:fs/promises");
export const loadPaths = () => import("node:path");
export const loadSystem = () => import("node:os");

/** Dawn, WebGPU for runtimes without one of their own: the optional package `webgpu`. */
export async function loadDawn(): Promise<GPU> {
  // Held in a variable so that bundlers do not look for a package that may not be there.
  const name = "webgpu";
  const { create } = (await import(name)) as { create(flags: string[]): GPU };
  return create([]);
}
