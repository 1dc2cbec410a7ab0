/** Model folders and files that a person dropped or chose, as files that are read later and by range. */

export interface Chosen {
  /** The folder's name. */
  readonly name: string;
  /** Files by name, `folder/name` for those one folder below. */
  readonly files: Record<string, File | Blob>;
  /** Of a model on the Hugging Face hub, whose files stay there. */
  readonly hub?: { readonly token?: string };
}

/** A model by its name on the hub. The token is used for this one, and kept nowhere. */
export function namedModel(name: string, token: string): Chosen {
  return { name, files: {}, hub: token ? { token } : {} };
}

/** Levels of folders that a model may have. */
const DEEPEST = 2;

function readEntries(reader: FileSystemDirectoryReader): Promise<FileSystemEntry[]> {
  return new Promise((resolve, reject) => reader.readEntries(resolve, reject));
}

async function addEntry(
  entry: FileSystemEntry,
  prefix: string,
  files: Chosen["files"],
): Promise<void> {
  const name = prefix + entry.name;
  if (entry.isFile) {
    files[name] = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject),
    );
  } else if (name.split("/").length < DEEPEST + 1) {
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    // A reader gives some entries at a time, and none at its end.
    for (let some = await readEntries(reader); some.length > 0; some = await readEntries(reader)) {
      for (const one of some) await addEntry(one, `${name}/`, files);
    }
  }
}

/** Files by their names inside of the one folder that holds them all, if there is one. */
function withoutTop(files: Chosen["files"], fallback: string): Chosen {
  const names = Object.keys(files);
  const [top] = names[0]?.split("/") ?? [];
  if (!names.every((name) => name.startsWith(`${top}/`))) {
    return { name: names.length === 1 ? top : fallback, files };
  }
  const inner = names.map((name) => [name.slice(top.length + 1), files[name]] as const);
  return { name: top, files: Object.fromEntries(inner) };
}

/** What lies in a drop: a folder, or the files of one. Call it before anything else is awaited. */
export async function droppedFolder(items: DataTransferItemList): Promise<Chosen> {
  const entries = [...items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  const files: Chosen["files"] = {};
  for (const entry of entries) await addEntry(entry, "", files);
  return withoutTop(files, "model");
}

/** What was chosen in an `<input type="file">`, with `webkitdirectory` or without. */
export function chosenFolder(list: FileList): Chosen {
  const entries = [...list].map((file) => [file.webkitRelativePath || file.name, file] as const);
  const near = entries.filter(([name]) => name.split("/").length <= DEEPEST + 1);
  return withoutTop(Object.fromEntries(near), "model");
}

/** Where serve.mjs puts the model that comes with the repository. */
const EMBEDDED = "stories-1m";
const EMBEDDED_FILES = [
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "model.safetensors",
  "README.md",
  "calibration.txt",
  "evaluation.txt",
];

/** Whether this server has the embedded model. */
export async function hasEmbedded(): Promise<boolean> {
  const answer = await fetch(`${EMBEDDED}/config.json`, { method: "HEAD" }).catch(() => undefined);
  return answer?.ok ?? false;
}

export async function embeddedFolder(): Promise<Chosen> {
  const files: Chosen["files"] = {};
  for (const name of EMBEDDED_FILES) {
    const answer = await fetch(`${EMBEDDED}/${name}`);
    if (!answer.ok) throw new Error(`${EMBEDDED}/${name} cannot be fetched (${answer.status})`);
    files[name] = await answer.blob();
  }
  return { name: EMBEDDED, files };
}
