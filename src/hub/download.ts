/** Repositories of the hub into the cache on the disk. */
import { PenjingError } from "../errors.js";
import { loadFiles } from "../platform/node-modules.js";
import { settlesWithin } from "../run.js";
import { Cache } from "./cache.js";
import { Client } from "./client.js";
import { UnreachableError } from "./failures.js";
import { parseHubName, textOf } from "./names.js";
import { type Repository, type RepositoryFile, readRepository } from "./repository.js";
import { selectFiles } from "./selection.js";
import { cacheFolder, type HubOptions, readSettings } from "./settings.js";
import { fetchFile, fetchRange } from "./transfer.js";

/** How often progress is told, in milliseconds. */
const TELL_MS = 200;
/** The pace is that of so many of them. */
const PACE_STEPS = 25;

export type DownloadEvent =
  | {
      readonly type: "start";
      /** The commit that the revision is at. */
      readonly commit: string;
      /** Files that make the model, and their bytes. */
      readonly files: number;
      readonly bytes: number;
      /** Bytes of them that are not in the cache yet. */
      readonly missing: number;
    }
  | {
      readonly type: "progress";
      /** The file that arrived last or is arriving. */
      readonly file: string;
      /** Bytes of the model that are there, and of all. */
      readonly done: number;
      readonly bytes: number;
      /** Share of them, in [0, 1]. */
      readonly fraction: number;
      readonly bytesPerSecond: number;
      /** Undefined while nothing arrives. */
      readonly secondsLeft: number | undefined;
    }
  | { readonly type: "note"; readonly where: string; readonly message: string };

export interface DownloadedModel {
  /** The snapshot's folder; of a name with a file, that file. */
  readonly path: string;
  /** The snapshot's folder. */
  readonly folder: string;
  /** The commit that it is of. */
  readonly commit: string;
  /** Names of the model's files in the snapshot's folder. */
  readonly files: readonly string[];
  /** Bytes that came over the network. */
  readonly fetchedBytes: number;
}

/** What is to be done and what is, over all files. */
class Ledger {
  file = "";
  done = 0;
  /** Bytes that arrived, not those that were there. */
  fetched = 0;
  private readonly steps = [{ time: performance.now(), fetched: 0 }];

  constructor(readonly bytes: number) {}

  event(): DownloadEvent {
    const { file, done, bytes, fetched, steps } = this;
    steps.push({ time: performance.now(), fetched });
    if (steps.length > PACE_STEPS) steps.shift();
    const [first, last] = [steps[0], steps[steps.length - 1]];
    const seconds = (last.time - first.time) / 1000;
    const bytesPerSecond = seconds > 0 ? Math.max(0, last.fetched - first.fetched) / seconds : 0;
    const secondsLeft = bytesPerSecond > 0 ? (bytes - done) / bytesPerSecond : undefined;
    const fraction = bytes > 0 ? done / bytes : 1;
    return { type: "progress", file, done, bytes, fraction, bytesPerSecond, secondsLeft };
  }
}

/** The whole of `downloadModel`, and of the download of any other file. */
export async function* downloadSteps(
  text: string,
  options: HubOptions,
): AsyncGenerator<DownloadEvent, DownloadedModel, void> {
  const stop = new AbortController();
  const { signal } = options;
  const pass = () => stop.abort(signal?.reason);
  signal?.throwIfAborted();
  signal?.addEventListener("abort", pass);
  try {
    const name = parseHubName(text, options.revision);
    const settings = await readSettings({ ...options, signal: stop.signal });
    const cache = await Cache.of(await cacheFolder(options.cacheDir), name);
    if (settings.offline) return { ...(await cache.find()), fetchedBytes: 0 };
    const notes: string[] = [];
    const client = new Client(settings, (note) => notes.push(note));
    const told = function* (): Generator<DownloadEvent, void, void> {
      for (const message of notes.splice(0)) yield { type: "note", where: text, message };
    };
    let repository: Repository;
    try {
      repository = await readRepository(client, name);
    } catch (error) {
      const cached =
        error instanceof UnreachableError && (await cache.find().catch(() => undefined));
      if (!cached) throw error;
      notes.push(`the hub cannot be reached; commit ${cached.commit} of the cache is taken`);
      yield* told();
      return { ...cached, fetchedBytes: 0 };
    }
    notes.push(...repository.notes);
    yield* told();
    const job = new Job(client, repository, cache, notes, stop);
    return yield* job.steps(told);
  } finally {
    signal?.removeEventListener("abort", pass);
  }
}

/** One download. */
class Job {
  private ledger = new Ledger(0);

  constructor(
    private readonly client: Client,
    private readonly repository: Repository,
    private readonly cache: Cache,
    private readonly notes: string[],
    private readonly stop: AbortController,
  ) {}

  async *steps(
    told: () => Generator<DownloadEvent, void, void>,
  ): AsyncGenerator<DownloadEvent, DownloadedModel, void> {
    const { repository, cache } = this;
    const { name, commit } = repository;
    const files = await selectFiles(repository, (file) => this.readText(file));
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    const missing = await this.missingOf(files);
    const left = missing.reduce((sum, { size }) => sum + size, 0);
    this.ledger = new Ledger(bytes);
    this.ledger.done = bytes - left;
    yield { type: "start", commit, files: files.length, bytes, missing: left };
    if (missing.length > 0) yield* this.fetchAlone(files, told);
    yield this.ledger.event();
    await cache.setRevision(name.revision ?? "main", commit);
    const folder = cache.snapshot(commit);
    const path = name.file === undefined ? folder : `${folder}/${name.file}`;
    const names = files.map((file) => file.path).sort();
    return { path, folder, commit, files: names, fetchedBytes: this.ledger.fetched };
  }

  /** Fetches what is missing once no other process downloads the same repository. */
  private async *fetchAlone(
    files: readonly RepositoryFile[],
    told: () => Generator<DownloadEvent, void, void>,
  ): AsyncGenerator<DownloadEvent, void, void> {
    const { cache, ledger, notes, stop } = this;
    const locking = cache.lock(stop.signal, (note) => notes.push(note));
    let work: Promise<void> | undefined;
    try {
      while (!(await settlesWithin(locking, TELL_MS))) yield* told();
      const lock = await locking;
      // Another process may have fetched some of it, or all, meanwhile.
      const missing = await this.missingOf(files);
      ledger.done = ledger.bytes - missing.reduce((sum, { size }) => sum + size, 0);
      work = this.fetchAll(missing);
      while (!(await settlesWithin(work, TELL_MS))) {
        lock.check();
        yield* told();
        if (ledger.done < ledger.bytes) yield ledger.event();
      }
      await work;
    } finally {
      // Left early, by an error or by whoever listens.
      stop.abort(new DOMException("The download was left early.", "AbortError"));
      await work?.catch(() => {});
      const lock = await locking.catch(() => undefined);
      await lock?.release();
    }
    yield* told();
  }

  private async missingOf(files: readonly RepositoryFile[]): Promise<RepositoryFile[]> {
    const { cache, repository } = this;
    const missing: RepositoryFile[] = [];
    for (const file of files) {
      if (!(await cache.holds(repository.commit, file))) missing.push(file);
    }
    return missing;
  }

  /** A small file that decides what else is needed. */
  private async readText(file: RepositoryFile): Promise<string> {
    const { client, repository } = this;
    const bytes = new Uint8Array(file.size);
    await fetchRange({ client, repository, file }, 0, bytes);
    return new TextDecoder().decode(bytes);
  }

  /** Several at a time; the first that fails ends the others. */
  private async fetchAll(files: readonly RepositoryFile[]): Promise<void> {
    const { client, repository, stop } = this;
    const byTag = new Map<string, RepositoryFile[]>();
    for (const file of files) byTag.set(file.tag, [...(byTag.get(file.tag) ?? []), file]);
    await this.checkSpace([...byTag.values()].map(([file]) => file));
    let first: unknown;
    const work = [...byTag.values()].map((same) =>
      client.limit(async () => {
        if (stop.signal.aborted) return;
        try {
          await this.fetchOne(same);
        } catch (error) {
          first ??= error;
          stop.abort(error);
        }
      }),
    );
    await Promise.all(work);
    if (first !== undefined) throw first;
    stop.signal.throwIfAborted();
    const lost = await this.missingOf(files);
    if (lost.length === 0) return;
    throw new PenjingError(
      textOf(repository.name),
      `${lost[0].path} was changed in the cache while it was downloaded; run again when nothing else works there.`,
    );
  }

  /** Files of the same bytes. */
  private async fetchOne(same: readonly RepositoryFile[]): Promise<void> {
    const { client, repository, cache, notes, ledger } = this;
    const { rm, stat } = await loadFiles();
    const [file] = same;
    const blob = cache.blob(file.tag);
    const found = await stat(blob).catch(() => undefined);
    if (found && found.size !== file.size) {
      notes.push(`${file.path} was half-written in the cache and is downloaded again`);
      await rm(blob, { force: true });
    }
    if (found?.size === file.size) {
      ledger.done += file.size;
    } else {
      let had: number | undefined;
      await fetchFile({ client, repository, file }, `${blob}.incomplete`, blob, {
        onBytes(bytes) {
          ledger.file = file.path;
          ledger.done += bytes;
          // The first are those that were there.
          if (had === undefined) had = bytes;
          else if (bytes > 0) ledger.fetched += bytes;
        },
        tell: (note) => notes.push(note),
      });
    }
    for (const one of same) await cache.place(repository.commit, one);
    ledger.done += (same.length - 1) * file.size;
  }

  /** Refuses what the disk has no room for, before hours are spent on it. */
  private async checkSpace(files: readonly RepositoryFile[]): Promise<void> {
    const { cache, repository } = this;
    const { stat } = await loadFiles();
    let needed = 0;
    for (const { tag, size } of files) {
      const has = async (path: string) => (await stat(path).catch(() => undefined))?.size ?? 0;
      const there = (await has(cache.blob(tag))) || (await has(`${cache.blob(tag)}.incomplete`));
      needed += Math.max(0, size - there);
    }
    const free = await cache.freeBytes();
    if (free === undefined || free >= needed) return;
    throw new PenjingError(
      textOf(repository.name),
      `${needed} bytes are to be downloaded, and the disk of the cache has room for ${free}; free space there, or name a cache on another disk (HF_HUB_CACHE or \`cacheDir\`).`,
    );
  }
}
