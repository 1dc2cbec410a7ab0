/** What of the hub needs a disk. The portable bundles have no-node-modules.ts in the place of this file. */
import { Cache, type Snapshot } from "./cache.js";
import { parseHubName } from "./names.js";
import { cacheFolder, type HubOptions } from "./settings.js";

export { downloadSteps } from "./download.js";

/** What the cache holds of a name, without asking anybody; undefined when it is not there or not whole. */
export async function findCached(text: string, options: HubOptions): Promise<Snapshot | undefined> {
  const cache = await Cache.of(
    await cacheFolder(options.cacheDir),
    parseHubName(text, options.revision),
  );
  return cache.find().catch(() => undefined);
}
