import { methods } from "../methods/index.js";
import type { Plugin } from "../plugin.js";
import { openRegistry, type Registry } from "../registry.js";
import { statistics } from "../statistics/index.js";

/** What a call knows that compresses. */
export function openCompressRegistry(plugins?: readonly Plugin[]): Registry {
  return openRegistry(plugins, { methods, statistics });
}
