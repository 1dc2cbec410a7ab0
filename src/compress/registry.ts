import { methods } from "../methods/index.js";
import type { PluginId } from "../plugin-id.js";
import { quantizers } from "../quantizers/index.js";
import { openRegistry, type Registry } from "../registry.js";
import { statistics } from "../statistics/index.js";

/** What a call knows that compresses. */
export function openCompressRegistry(plugins?: readonly PluginId[]): Registry {
  return openRegistry(plugins, { methods, quantizers, statistics });
}
