/**
 * Where results are kept until they are downloaded: a directory of this worker's own in the
 * browser's storage for the site, or memory where there is none.
 */
import {
  createOriginOutput,
  type Folder,
  memoryFolder,
  memoryOutputFolder,
  type OutputFolder,
  openOriginFolder,
  originDirectory,
} from "penjing";

const PREFIX = "penjing-page-";

/** Writes bytes one after the other into something that becomes a Blob. */
interface BlobSink {
  write(bytes: Uint8Array): Promise<void>;
  finish(): Promise<Blob>;
  discard(): Promise<void>;
}

export interface Storage {
  readonly kind: "disk" | "memory";
  /** Begins an output folder; one of this name is replaced when it is committed. */
  createOutput(name: string): Promise<OutputFolder>;
  /** The committed folder. */
  openOutput(output: OutputFolder): Promise<Folder>;
  /** A file of the committed folder. */
  openFile(output: OutputFolder, name: string): Promise<Blob>;
  createBlob(name: string): Promise<BlobSink>;
}

function memoryStorage(): Storage {
  return {
    kind: "memory",
    createOutput: async (name) => memoryOutputFolder(name),
    openOutput: async (output) =>
      memoryFolder((output as ReturnType<typeof memoryOutputFolder>).files, output.path),
    openFile: async (output, name) => {
      const { files } = output as ReturnType<typeof memoryOutputFolder>;
      return new Blob([files[name] as Uint8Array<ArrayBuffer>]);
    },
    async createBlob() {
      const parts: Uint8Array<ArrayBuffer>[] = [];
      return {
        write: async (bytes) => void parts.push(new Uint8Array(bytes)),
        finish: async () => new Blob(parts, { type: "application/zip" }),
        discard: async () => void parts.splice(0),
      };
    },
  };
}

/** Removes what workers that are gone left behind: each holds a lock of its directory's name. */
async function sweep(root: FileSystemDirectoryHandle): Promise<void> {
  const { held = [] } = await navigator.locks.query();
  const living = new Set(held.map(({ name }) => name));
  for await (const name of root.keys()) {
    if (!name.startsWith(PREFIX) || living.has(name)) continue;
    await root.removeEntry(name, { recursive: true }).catch(() => undefined);
  }
}

/** Holds a lock for as long as this worker lives. */
function holdLock(name: string): Promise<void> {
  return new Promise((held) => {
    void navigator.locks.request(name, () => {
      held();
      return new Promise(() => {});
    });
  });
}

async function diskStorage(): Promise<Storage> {
  const root = await navigator.storage.getDirectory();
  const name = PREFIX + crypto.randomUUID();
  await holdLock(name);
  await sweep(root);
  const directory = await root.getDirectoryHandle(name, { create: true });
  // A browser that cannot write files from a worker shows it here, not after an hour's work.
  await probe(directory);
  const openFile = async ({ path }: OutputFolder, file: string) => {
    const folder = await originDirectory(directory, path);
    return (await folder.getFileHandle(file)).getFile();
  };
  return {
    kind: "disk",
    createOutput: (output) => createOriginOutput(directory, output, { force: true }),
    openOutput: (output) => openOriginFolder(directory, output.path),
    openFile,
    async createBlob(file) {
      const output = await createOriginOutput(directory, `${file}.download`, { force: true });
      const sink = await output.create(file);
      let end = 0;
      return {
        async write(bytes) {
          await sink.write(end, bytes);
          end += bytes.byteLength;
        },
        async finish() {
          await sink.finish();
          await output.commit();
          return openFile(output, file);
        },
        discard: () => output.discard(),
      };
    },
  };
}

async function probe(directory: FileSystemDirectoryHandle): Promise<void> {
  const output = await createOriginOutput(directory, "probe");
  try {
    await output.writeText("probe.txt", "1");
  } finally {
    await output.discard();
  }
}

/** The browser's storage where it can be written to, else memory. */
export async function openStorage(): Promise<Storage> {
  try {
    return await diskStorage();
  } catch {
    return memoryStorage();
  }
}
