import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { PenjingError } from "../errors.js";
import { openFile } from "../platform/files.js";
import { definePlugin, type Plugin } from "../plugin.js";
import type { PluginFlags } from "./options.js";

/**
 * Loads the plug-ins that the flags name, in their order. Their code runs in this process.
 *
 * @throws PenjingError for a file that does not exist, cannot be loaded, or exports no plug-in
 */
export async function loadPlugins({ plugin = [] }: PluginFlags): Promise<Plugin[]> {
  const plugins: Plugin[] = [];
  for (const path of plugin) {
    await (await openFile(path)).close();
    let made: unknown;
    try {
      made = (await import(pathToFileURL(resolve(path)).href)).default;
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
      const message = `it cannot be loaded as a module (${reason}); mend it there.`;
      throw new PenjingError(path, message, { cause });
    }
    if (typeof made !== "object" || made === null) {
      const cure = "export what definePlugin returns";
      throw new PenjingError(
        path,
        `its default export is no plug-in and no list of them; ${cure}.`,
      );
    }
    for (const one of [made].flat() as Plugin[]) plugins.push(definePlugin(one));
  }
  return plugins;
}
