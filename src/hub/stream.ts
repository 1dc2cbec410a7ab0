/** Folders whose files stay on the hub and are read by range. */
import { PenjingError } from "../errors.js";
import {
  allocate,
  type ByteSource,
  checkRange,
  type Folder,
  readSmallText,
} from "../platform/files.js";
import { quote } from "../quote.js";
import { Client } from "./client.js";
import { parseHubName } from "./names.js";
import { type Repository, type RepositoryFile, readRepository } from "./repository.js";
import { LONGEST_INDEX, selectFiles } from "./selection.js";
import { type HubOptions, readSettings } from "./settings.js";
import { fetchRange } from "./transfer.js";

/** Bytes that one request asks for at most. */
const PIECE = 2 ** 25;
/**
 * Bytes of the start of a file of weights that are asked for at once: the header of a shard is shorter as
 * a rule, and its length stands in the first eight.
 */
const HEAD = 2 ** 13;

/** A repository as a folder, and what is to be said of it. */
export interface RemoteFolder {
  readonly folder: Folder;
  /** In it, the file that the name is of. */
  readonly single: string | undefined;
  readonly commit: string;
  readonly notes: readonly string[];
}

/**
 * Opens the files of a model, or the file that the name is of, without writing anything. The folder of a
 * file is the one that it lies in, as on a disk.
 */
export async function openRemote(text: string, options: HubOptions): Promise<RemoteFolder> {
  const name = parseHubName(text, options.revision);
  const notes: string[] = [];
  const client = new Client(await readSettings(options), (note) => notes.push(note));
  const repository = await readRepository(client, name);
  const sources = new Map<string, RemoteFile>();
  const texts = new Map<string, string>();
  const openOne = (file: RepositoryFile) => {
    const source = sources.get(file.path) ?? new RemoteFile(client, repository, file);
    sources.set(file.path, source);
    return source;
  };
  const readText = async (file: RepositoryFile, maxBytes: number) => {
    const known = texts.get(file.path) ?? (await readSmallText(openOne(file), maxBytes));
    texts.set(file.path, known);
    return known;
  };
  const selected = await selectFiles(repository, (file) => readText(file, LONGEST_INDEX));
  const top = folderOf(name.file);
  const path = repository.path + (top && `/${top.slice(0, -1)}`);
  const files = new Map(selected.map((file) => [file.path.slice(top.length), file]));
  const find = (wanted: string): RepositoryFile => {
    const file = files.get(wanted);
    if (file) return file;
    const names = [...files.keys()].join(", ");
    throw new PenjingError(
      `${path}/${wanted}`,
      `there is no such file among those of the model: ${names}.`,
    );
  };
  const folder: Folder = {
    path,
    isRemote: true,
    list: async () => [...files.keys()].filter((one) => one.split("/").length <= 2).sort(),
    open: async (one) => openOne(find(one)),
    readText: (one, maxBytes) => readText(find(one), maxBytes),
    has: async (one) => files.has(one),
    prepare(paths) {
      for (const one of paths) {
        const file = files.get(one);
        // What goes wrong is said when the file is read.
        if (file)
          openOne(file)
            .head()
            .catch(() => {});
      }
    },
  };
  const single = name.file?.slice(top.length);
  return { folder, single, commit: repository.commit, notes: [...repository.notes, ...notes] };
}

/** The folder in a repository that a file lies in, as in "Q8_0/"; "" for the repository's own. */
function folderOf(file = ""): string {
  return file.slice(0, file.lastIndexOf("/") + 1);
}

/** A file on the hub. */
class RemoteFile implements ByteSource {
  readonly isRemote = true;
  readonly name: string;
  readonly size: number;
  private start: Promise<Uint8Array> | undefined;

  constructor(
    private readonly client: Client,
    private readonly repository: Repository,
    private readonly file: RepositoryFile,
  ) {
    this.name = repository.asked(file).where;
    this.size = file.size;
  }

  /** The first bytes, which are fetched once. */
  head(): Promise<Uint8Array> {
    this.start ??= this.fetch(0, Math.min(HEAD, this.size)).catch((error) => {
      this.start = undefined;
      throw error;
    });
    return this.start;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this.name, this.size, offset, length);
    if (length === 0) return new Uint8Array(0);
    const isShort = offset === 0 && length <= HEAD;
    if (!this.start && !isShort) return this.fetch(offset, length);
    const head = await this.head();
    const known = head.slice(offset, offset + length);
    if (known.length === length) return known;
    if (known.length === 0) return this.fetch(offset, length);
    const bytes = allocate(this.name, length);
    bytes.set(known);
    bytes.set(await this.fetch(offset + known.length, length - known.length), known.length);
    return bytes;
  }

  /** In pieces, some of them at a time. */
  private async fetch(offset: number, length: number): Promise<Uint8Array> {
    const { client, repository, file } = this;
    const bytes = allocate(this.name, length);
    const starts = Array.from({ length: Math.ceil(length / PIECE) }, (_, i) => i * PIECE);
    const piece = (start: number) =>
      client.limit(async () => {
        client.signal?.throwIfAborted();
        const into = bytes.subarray(start, Math.min(start + PIECE, length));
        await fetchRange({ client, repository, file }, offset + start, into);
      });
    await Promise.all(starts.map(piece));
    return bytes;
  }

  async close(): Promise<void> {}
}

/** One file of a repository, of a dataset as well, to be read by range. */
export async function openRemoteFile(text: string, options: HubOptions): Promise<ByteSource> {
  if (parseHubName(text, options.revision).file === undefined) throw namesNoFile(text);
  const { folder, single } = await openRemote(text, options);
  return folder.open(single!);
}

export function namesNoFile(text: string): PenjingError {
  const example = quote(`${text}/data/train.parquet`);
  return new PenjingError(text, `it names no file; put its path behind it, as in ${example}.`);
}
