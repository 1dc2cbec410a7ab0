/** The bytes of one file over the network: in order, going on where a connection was cut, checked. */
import { PenjingError } from "../errors.js";
import { errorCode, fileError } from "../platform/file-errors.js";
import { loadFiles, loadHashing } from "../platform/node-modules.js";
import { quote } from "../quote.js";
import { sleep } from "../run.js";
import { type Answer, type Client, Passing } from "./client.js";
import { movedSentence } from "./failures.js";
import type { Repository, RepositoryFile } from "./repository.js";

/** A connection that is cut without a byte is opened again so often, after a wait in milliseconds. */
const MOST_BARREN = 4;
const BARREN_WAIT = 250;
/** Bytes of an unfinished file that are hashed at a time. */
const PIECE = 2 ** 22;

export interface Remote {
  readonly client: Client;
  readonly repository: Repository;
  readonly file: RepositoryFile;
}

/** What becomes of the bytes. */
interface Receiver {
  take(chunk: Uint8Array): Promise<void>;
  /** Forgets all, as the server sends the file from its start. False where that is of no use. */
  restart(): Promise<boolean>;
}

/**
 * Fetches the bytes from `start` up to `end` of a file. Where the connection is cut it goes on from the
 * byte at hand, for as long as some arrive.
 */
async function receive(
  { client, repository, file }: Remote,
  start: number,
  end: number,
  receiver: Receiver,
): Promise<void> {
  const asked = repository.asked(file);
  const url = repository.url(file);
  let at = start;
  let barren = 0;
  while (at < end) {
    const before = at;
    try {
      const last = end === file.size ? "" : end - 1;
      const range = `bytes=${at}-${last}`;
      const answer = await client.open(url, asked, { range, ifRange: `"${file.tag}"` });
      try {
        checkAnswer(answer, file, at, asked.where);
        if (answer.status === 200 && at > 0) {
          if (!(await receiver.restart())) {
            throw new PenjingError(
              asked.where,
              "the server sends whole files where a part is asked for, so that nothing can be streamed from it; download the model instead.",
            );
          }
          at = 0;
        }
        for await (const chunk of answer.chunks()) {
          if (at + chunk.length > end) {
            if (answer.status === 206 || end === file.size) {
              throw new PenjingError(
                asked.where,
                movedSentence("is longer than the hub's list says"),
              );
            }
            await receiver.take(chunk.subarray(0, end - at));
            at = end;
            break;
          }
          await receiver.take(chunk);
          at += chunk.length;
        }
      } finally {
        await answer.cancel();
      }
      if (at < end && ++barren > MOST_BARREN && at <= before) {
        throw new PenjingError(
          asked.where,
          `the server ends the file after ${at} of ${file.size} bytes, again and again; try again later.`,
        );
      }
    } catch (error) {
      if (!(error instanceof Passing)) throw error;
      if (at <= before && ++barren > MOST_BARREN) throw error.failure;
    }
    if (at > before) barren = 0;
    else await sleep(BARREN_WAIT * 2 ** (barren - 1), client.signal);
  }
}

/** Refuses an answer about another file than the one that was listed, or about another part of it. */
function checkAnswer(
  { status, headers, tag, url }: Answer,
  { tag: expected, size, path }: RepositoryFile,
  at: number,
  where: string,
): void {
  const isTag = tag !== undefined && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(tag);
  if (isTag && tag !== expected) {
    throw new PenjingError(where, movedSentence("is another one than the hub's list says"));
  }
  if (status !== 206) return;
  const range = headers.get("content-range");
  const [, start, all] = /^bytes (\d+)-\d+\/(\d+)$/.exec(range ?? "") ?? [];
  if (all !== undefined && Number(all) !== size) {
    throw new PenjingError(where, movedSentence("has another length than the hub's list says"));
  }
  // A browser may hide it; what arrives is checked by its length all the same.
  if (range === null || Number(start) === at) return;
  throw new PenjingError(
    url.origin,
    `it answers a part of ${quote(path)} with another one (${range}); check the network's proxy.`,
  );
}

/** The bytes of a range of a file. */
export async function fetchRange(remote: Remote, offset: number, into: Uint8Array): Promise<void> {
  let filled = 0;
  const take = async (chunk: Uint8Array) => {
    into.set(chunk, filled);
    filled += chunk.length;
  };
  const isWhole = offset === 0 && into.length === remote.file.size;
  const restart = async () => {
    filled = 0;
    return isWhole;
  };
  await receive(remote, offset, offset + into.length, { take, restart });
}

export interface Fetched {
  /** Hears how many bytes more are there; fewer where a file begins anew. */
  onBytes(bytes: number): void;
  /** Hears of what was mended. */
  tell(note: string): void;
}

/**
 * Fetches a whole file to a path at which a part of it may lie, and gives it its name once its checksum
 * is right.
 *
 * @param partial where it lies until then; stays there when the fetching ends early
 */
export async function fetchFile(
  remote: Remote,
  partial: string,
  path: string,
  hears: Fetched,
): Promise<void> {
  const { file, repository } = remote;
  for (const isLast of [false, true]) {
    if (await fetchOnce(remote, partial, hears)) break;
    const { rm } = await loadFiles();
    await rm(partial, { force: true });
    hears.onBytes(-file.size);
    if (isLast) {
      throw new PenjingError(
        repository.asked(file).where,
        "what arrives does not have the checksum that the hub gives, twice; something between changes it: check the network's proxy, or try another network.",
      );
    }
    hears.tell(`${file.path} arrived damaged and is downloaded again`);
  }
  try {
    await (await loadFiles()).rename(partial, path);
  } catch (error) {
    throw fileError(path, "renaming the download", error);
  }
}

/** @returns whether the checksum is right */
async function fetchOnce(remote: Remote, partial: string, { onBytes }: Fetched): Promise<boolean> {
  const { file, client } = remote;
  const { open } = await loadFiles();
  const { createHash } = await loadHashing();
  // Git hashes a file behind its kind and length.
  const begin = () =>
    file.isLarge ? createHash("sha256") : createHash("sha1").update(`blob ${file.size}\0`);
  let hash = begin();
  const failed = (action: string, error: unknown) =>
    fileError(partial, action, error, "what has arrived is kept, and the same call goes on there");
  const handle = await open(partial, "r+")
    .catch((error) => {
      if (errorCode(error) !== "ENOENT") throw error;
      return open(partial, "w+");
    })
    .catch((error) => {
      throw failed("opening", error);
    });
  try {
    let { size: have } = await handle.stat();
    if (have > file.size) {
      await handle.truncate(0);
      have = 0;
    }
    const piece = new Uint8Array(Math.min(PIECE, have));
    for (let at = 0; at < have; ) {
      client.signal?.throwIfAborted();
      const { bytesRead } = await handle.read(piece, 0, Math.min(PIECE, have - at), at);
      if (bytesRead === 0)
        throw new PenjingError(partial, "it became shorter while it was read; run again.");
      hash.update(piece.subarray(0, bytesRead));
      at += bytesRead;
    }
    onBytes(have);
    await receive(remote, have, file.size, {
      async take(chunk) {
        try {
          for (let done = 0; done < chunk.length; ) {
            const left = chunk.length - done;
            done += (await handle.write(chunk, done, left, have + done)).bytesWritten;
          }
        } catch (error) {
          throw failed("writing", error);
        }
        hash.update(chunk);
        have += chunk.length;
        onBytes(chunk.length);
      },
      async restart() {
        await handle.truncate(0);
        onBytes(-have);
        have = 0;
        hash = begin();
        return true;
      },
    });
    await handle.sync().catch((error) => {
      throw failed("writing", error);
    });
    return hash.digest("hex") === file.tag;
  } finally {
    await handle.close();
  }
}
