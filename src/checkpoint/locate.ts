import { PenjingError } from "../errors.js";
import type { HubAccess } from "../hub/hub.js";
import { isHubName } from "../hub/names.js";
import { type Folder, openFile, openFolder } from "../platform/files.js";
import { HAS_FILES, loadFiles, loadPaths } from "../platform/node-modules.js";
import { quote } from "../quote.js";
import { isGguf, isPickle, lookalike, PICKLE_CURE } from "./foreign.js";

/** The folder of a model, and the one file in it that was given instead of the folder. */
export interface Located {
  readonly folder: Folder;
  readonly single?: string | undefined;
  /** Sentences on what was taken for what was given. */
  readonly notes: readonly string[];
}

/** Longest text of a reference in the hub's cache, in bytes: a commit's hash. */
const REFERENCE_BYTES = 200;

/**
 * Finds the folder that a path stands for: itself, that of a .safetensors or .gguf file, or a snapshot
 * in the folder of a model in the Hugging Face cache. Where nothing is at the path, and everywhere in browsers,
 * a name on the hub stands for the model there.
 *
 * @throws PenjingError when nothing is there, or it is a file of another kind
 */
export async function locate(path: string, access: HubAccess = {}): Promise<Located> {
  if (path === "") {
    throw new PenjingError(
      "model",
      "its path is an empty text; give a folder, a file, or a name on the hub such as org/name.",
    );
  }
  if (!HAS_FILES && isHubName(path)) return locateOnHub(path, access);
  const { lstat, readlink, stat } = await loadFiles();
  const { basename, dirname, resolve } = await loadPaths();
  const found = await stat(path).catch(() => undefined);
  if (found) refuseRevision(path, access.revision);
  if (found?.isDirectory()) return locateSnapshot(resolve(path));
  if (found?.isFile()) {
    const full = resolve(path);
    if (!path.endsWith(".safetensors") && !isGguf(basename(full))) throw await notWeights(path);
    return { folder: await openFolder(dirname(full)), single: basename(full), notes: [] };
  }
  if (found) {
    throw new PenjingError(
      path,
      "it is a pipe or a device, and a model is read from here and there; save it to a file first.",
    );
  }
  if ((await lstat(path).catch(() => undefined))?.isSymbolicLink()) {
    throw new PenjingError(
      path,
      `it is a symbolic link to ${quote(await readlink(path))}, where nothing is; download the model again or mend the link.`,
    );
  }
  if (isHubName(path)) return locateOnHub(path, access);
  return { folder: await openFolder(path), notes: [] };
}

async function locateOnHub(name: string, access: HubAccess): Promise<Located> {
  const { locateOnHub } = await import("../hub/hub.js");
  const found = await locateOnHub(name, access);
  if ("folder" in found) return found;
  const located = await locate(found.path);
  return { ...located, notes: [...found.notes, ...located.notes] };
}

/** @throws PenjingError when a revision is asked of what is on this machine */
export function refuseRevision(path: string, revision: string | undefined): void {
  if (revision === undefined) return;
  throw new PenjingError(
    path,
    `it is on this machine, where it has no \`revision\`; leave that out, or write hf:// before the name of a model on the hub.`,
  );
}

/** Characters that tell what a file is. */
const START = 16;

async function notWeights(path: string): Promise<PenjingError> {
  const file = await openFile(path);
  const bytes = await file.read(0, Math.min(START, file.size)).finally(() => file.close());
  const found = lookalike(String.fromCharCode(...bytes));
  if (found) return new PenjingError(path, found);
  if (isPickle(path)) return new PenjingError(path, `it is a PyTorch file; ${PICKLE_CURE}.`);
  return new PenjingError(
    path,
    "a checkpoint is a folder or a .safetensors file or a .gguf file, and this is none of them; give the model's folder.",
  );
}

/** A folder, or the snapshot that a folder of the hub's cache holds. */
async function locateSnapshot(root: string): Promise<Located> {
  const { readdir, readFile, stat } = await loadFiles();
  const { basename, join } = await loadPaths();
  const folders = async (path: string) => {
    const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  };
  const inside = await folders(root);
  const models = inside.filter((name) => name.startsWith("models--"));
  if (models.length > 0) {
    throw new PenjingError(
      root,
      `it is a cache of models and no model; give the folder of one, such as ${quote(join(root, models[0]))}.`,
    );
  }
  const isCached = basename(root).startsWith("models--") && inside.includes("snapshots");
  if (!isCached) return { folder: await openFolder(root), notes: [] };
  const snapshots = await folders(join(root, "snapshots"));
  if (snapshots.length === 0) {
    throw new PenjingError(root, "the cache holds no snapshot of this model; download it again.");
  }
  const main = await stat(join(root, "refs", "main"))
    .then(({ size }) =>
      size <= REFERENCE_BYTES ? readFile(join(root, "refs", "main"), "utf8") : "",
    )
    .catch(() => "");
  const dated = await Promise.all(
    snapshots.map(async (name) => ({
      name,
      time: (await stat(join(root, "snapshots", name))).mtimeMs,
    })),
  );
  const newest = dated.reduce((best, one) => (one.time > best.time ? one : best)).name;
  const chosen = snapshots.find((name) => name === main.trim()) ?? newest;
  const notes = [`the snapshot ${chosen} of the cache is taken`];
  return { folder: await openFolder(join(root, "snapshots", chosen)), notes };
}
