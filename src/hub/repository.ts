/** What the hub says of a repository: its commit, and the files in it. */
import { PenjingError } from "../errors.js";
import { checkFileName } from "../platform/file-errors.js";
import { type Client, notTheHub } from "./client.js";
import type { Asked } from "./failures.js";
import { encoded, type HubName, noPath, textOf } from "./names.js";

/** A file of a repository. */
export interface RepositoryFile {
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Its SHA-256 where it is stored as a large file, else git's SHA-1 of it, in hex. */
  readonly tag: string;
  readonly isLarge: boolean;
}

/** A repository at one commit. */
export interface Repository {
  readonly name: HubName;
  /** The name with the commit in the place of the revision. */
  readonly path: string;
  readonly commit: string;
  readonly files: ReadonlyMap<string, RepositoryFile>;
  /** Sentences that a person should read. */
  readonly notes: readonly string[];
  /** The address of a file. */
  url(file: RepositoryFile): URL;
  /** What messages say of a file, or of the whole. */
  asked(file?: RepositoryFile): Asked;
}

/** Most files of a repository, and most parts of the list of them. */
const MOST_FILES = 200_000;
const MOST_PAGES = 1_000;

const COMMIT = /^[0-9a-f]{40}$/;
const SHA256 = /^[0-9a-f]{64}$/;

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

/**
 * Asks for the commit that a revision is at, and for its files.
 *
 * @throws PenjingError for what is missing, private or gated, and for answers that no hub gives
 */
export async function readRepository(client: Client, name: HubName): Promise<Repository> {
  const { kind, repository, revision } = name;
  const set = kind === "datasets" ? "datasets/" : "";
  const page = client.url(set + repository).href;
  const { hasToken } = client;
  const asked: Asked = { where: textOf(name), page, revision, noPath: noPath(name), hasToken };
  const at = revision === undefined ? "" : `/revision/${encodeURIComponent(revision)}`;
  const about = client.url(`api/${kind}/${encoded(repository)}${at}`);
  const facts = fieldsOf((await client.json(about, asked)).body);
  const { id, sha: commit } = facts;
  if (typeof commit !== "string" || !COMMIT.test(commit)) throw notTheHub(about, "names no commit");
  // A repository that was renamed answers by its new name.
  const now = typeof id === "string" && /^[\w.-]+(\/[\w.-]+)?$/.test(id) ? id : repository;
  const notes: string[] = [];
  if (now.toLowerCase() !== repository.toLowerCase()) {
    notes.push(`${repository} is called ${now} on the hub now; use that name`);
  }
  const files = await listFiles(client, asked, `api/${kind}/${encoded(now)}/tree/${commit}`);
  return {
    ...{ name, commit, files, notes },
    path: textOf({ ...name, revision: commit, file: undefined }),
    url: ({ path }) => client.url(`${set}${encoded(now)}/resolve/${commit}/${encoded(path)}`),
    asked: (file) =>
      file ? { ...asked, where: textOf({ ...name, file: file.path }), noPath: "" } : asked,
  };
}

async function listFiles(
  client: Client,
  asked: Asked,
  path: string,
): Promise<Map<string, RepositoryFile>> {
  const files = new Map<string, RepositoryFile>();
  let url: URL | undefined = client.url(`${path}?recursive=true`);
  for (let pages = 0; url; pages++) {
    const page: { readonly body: unknown; readonly next?: URL } = await client.json(url, asked);
    if (!Array.isArray(page.body)) throw notTheHub(url, "is no list of files");
    for (const entry of page.body) {
      const file = fileOf(fieldsOf(entry), url);
      if (file) files.set(file.path, file);
    }
    if (files.size > MOST_FILES || pages > MOST_PAGES) {
      throw new PenjingError(
        asked.where,
        `it has more than ${files.size > MOST_FILES ? MOST_FILES : files.size} files, too many for a model.`,
      );
    }
    url = page.next;
  }
  return files;
}

/** An entry of the list that is a file. Its path and tag become paths on the disk. */
function fileOf({ type, path, size, oid, lfs }: Fields, url: URL): RepositoryFile | undefined {
  if (type !== "file") return undefined;
  if (typeof path !== "string") throw notTheHub(url, "lists a file without a name");
  checkFileName(url.href, path);
  const large = lfs === undefined || lfs === null ? undefined : fieldsOf(lfs);
  const tag = large ? large.oid : oid;
  const bytes = large?.size ?? size;
  const isTag = typeof tag === "string" && (large ? SHA256 : COMMIT).test(tag);
  if (!isTag) throw notTheHub(url, `gives no checksum of ${path}`);
  if (typeof bytes !== "number" || !Number.isSafeInteger(bytes) || bytes < 0) {
    throw notTheHub(url, `gives no length of ${path}`);
  }
  return { path, size: bytes, tag, isLarge: large !== undefined };
}
