/** From a name on the hub to what a checkpoint is opened from. */
import { type Arguments, checkArguments, FLAG } from "../arguments.js";
import type { Folder } from "../platform/files.js";
import { HAS_FILES } from "../platform/node-modules.js";
import { Run } from "../run.js";
import { downloadSteps, findCached } from "./disk.js";
import { UnreachableError } from "./failures.js";
import { parseHubName } from "./names.js";
import { HUB_ARGUMENTS, type HubOptions, readSettings } from "./settings.js";
import { namesNoFile, openRemote } from "./stream.js";

export { downloadSteps } from "./disk.js";
export { reachHub } from "./reach.js";
export { cacheFolder } from "./settings.js";
export { openRemote, openRemoteFile } from "./stream.js";

/** How a model on the hub is opened. */
export interface HubAccess extends HubOptions {
  /**
   * Read the model from the hub by range, and write nothing to the disk.
   *
   * @default false where there is a disk: the model is downloaded into the cache
   */
  readonly stream?: boolean | undefined;
}

const ACCESS: Arguments<HubAccess> = { ...HUB_ARGUMENTS, stream: FLAG };

/** A path on the disk, or an open folder and, of a name with a file, that file in it. */
export type OnHub = { readonly notes: readonly string[] } & (
  | { readonly path: string }
  | { readonly folder: Folder; readonly single: string | undefined }
);

/** Finds a model by its name on the hub; downloads it first where it is not to be streamed. */
export async function locateOnHub(text: string, access: HubAccess = {}): Promise<OnHub> {
  checkArguments("hub", access, ACCESS);
  const { stream = !HAS_FILES, ...options } = access;
  const { offline } = await readSettings(options);
  if (stream && !offline) {
    try {
      const { folder, single, commit, notes } = await openRemote(text, options);
      return { folder, single, notes: [`commit ${commit} is read from the hub`, ...notes] };
    } catch (error) {
      if (!HAS_FILES || !(error instanceof UnreachableError)) throw error;
      const cached = await findCached(text, options);
      if (!cached) throw error;
      const note = `the hub cannot be reached; commit ${cached.commit} of the cache is taken`;
      return { path: cached.path, notes: [note] };
    }
  }
  const notes: string[] = [];
  const run = new Run(downloadSteps(text, options));
  for await (const event of run) if (event.type === "note") notes.push(event.message);
  return { path: (await run.result()).path, notes };
}

/**
 * A file of a model's or a dataset's repository, as in "hf://datasets/org/name/test.parquet", on the
 * disk. Node, Deno and Bun only.
 *
 * @returns its path in the cache
 */
export async function downloadHubFile(text: string, options: HubOptions = {}): Promise<string> {
  if (parseHubName(text, options.revision).file === undefined) throw namesNoFile(text);
  return (await new Run(downloadSteps(text, options)).result()).path;
}
