import { PenjingError } from "../errors.js";
import { sleep } from "../run.js";
import { errorCode, fileError } from "./file-errors.js";
import { loadFiles, loadPaths, loadSystem } from "./node-modules.js";

/** How often a holder shows that it is alive, in milliseconds. */
const BEAT_MS = 2_000;
/** A holder on another machine or in another container counts as dead after this silence. */
const SILENCE_MS = 30_000;
/** How long two processes that replace the same dead holder wait to see which of them it became. */
const SETTLE_MS = 100;

/** Name of the lock file. */
export const LOCK = "lock";

/** What a lock file says of the process that holds the folder. */
interface Holder {
  /** Differs from lock to lock. */
  readonly token: string;
  readonly host: string;
  /** Where its process number means something: one start of one machine, one container. */
  readonly place: string;
  readonly pid: number;
  /** When the process began, in the system's own unit; "" where the system does not tell. */
  readonly started: string;
}

/** A folder that no other process works in. */
export interface Lock {
  /** @throws PenjingError when another process took the folder, as this one seemed to be dead */
  check(): void;
  release(): Promise<void>;
}

/** A living process holds the folder. */
export class HeldError extends PenjingError {
  /** @param holder who it is, as in "process 17 on alpha" */
  constructor(
    folder: string,
    readonly holder: string,
  ) {
    super(folder, `${holder} is at work there; wait until it has ended, or choose another folder.`);
  }
}

async function textOf(path: string): Promise<string | undefined> {
  const { lstat, readFile } = await loadFiles();
  try {
    // A link to nothing would never be free, and a pipe would be read for ever.
    if (!(await lstat(path)).isFile()) throw new PenjingError(path, "it is no file; remove it.");
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw fileError(path, "reading the lock", error);
  }
}

/** A file or link below /proc; undefined on systems without one. */
async function fromProc(name: string): Promise<string | undefined> {
  const { readFile, readlink } = await loadFiles();
  const path = `/proc/${name}`;
  try {
    return name.startsWith("self/ns") ? await readlink(path) : await readFile(path, "utf8");
  } catch {
    return undefined;
  }
}

async function placeHere(host: string): Promise<string> {
  const boot = await fromProc("sys/kernel/random/boot_id");
  const container = await fromProc("self/ns/pid");
  return boot && container ? `${boot.trim()} ${container}` : host;
}

/** When a process began; "" when it has ended but is still listed, undefined when nobody tells. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await fromProc(`${pid}/stat`);
  // proc(5): the name in brackets may hold anything; the state follows it, the start is field 22.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields && (/^[ZX]/.test(fields[0]) ? "" : fields[19]);
}

function holderIn(text: string): Holder | undefined {
  try {
    return JSON.parse(text.split("\n")[0]) as Holder;
  } catch {
    // Its process is writing it just now, or was killed there.
    return undefined;
  }
}

/** Whether a process of this machine runs; undefined when only its signs of life can tell. */
async function runsHere({ pid, started }: Holder): Promise<boolean | undefined> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (errorCode(error) === "ESRCH") return false;
  }
  const begun = await startOf(pid);
  // Numbers are given again: a process that began at another time is another one.
  return begun === undefined || started === "" ? undefined : begun === started;
}

/** Whether whoever wrote a lock is alive. */
async function isHeld(
  path: string,
  text: string,
  here: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const holder = holderIn(text);
  const runs = holder?.place === here ? await runsHere(holder) : undefined;
  if (runs !== undefined) return runs;
  // By content: times of network folders are kept for a while, and clocks differ.
  for (let waited = 0; waited < SILENCE_MS; waited += BEAT_MS / 4) {
    await sleep(BEAT_MS / 4, signal);
    const now = await textOf(path);
    if (now !== text) return now !== undefined;
  }
  return false;
}

/**
 * Keeps other processes out of a folder until `release`, or until this process is dead. Processes of
 * the same machine are told apart by number and start; others by a line that a living one rewrites
 * every two seconds.
 *
 * @param signal ends the wait for signs of life
 * @throws HeldError when a living process holds it
 */
export async function lockFolder(folder: string, signal?: AbortSignal): Promise<Lock> {
  const fs = await loadFiles();
  const { hostname } = await loadSystem();
  const path = (await loadPaths()).join(folder, LOCK);
  const host = hostname();
  const place = await placeHere(host);
  const token = Math.random().toString(36).slice(2);
  const started = (await startOf(process.pid)) ?? "";
  const mine: Holder = { token, host, place, pid: process.pid, started };
  const text = (beat: number) => `${JSON.stringify(mine)}\n${String(beat).padStart(12)}\n`;
  const isMine = async () => holderIn((await textOf(path)) ?? "")?.token === token;
  /** Writes the lock at a path where nothing is. */
  const write = async (at: string) => {
    const opened = await fs.open(at, "wx");
    await opened.write(text(0), 0);
    return opened;
  };

  const take = async (): Promise<Awaited<ReturnType<typeof fs.open>> | undefined> => {
    try {
      return await write(path);
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw fileError(path, "locking the folder", error);
    }
    const found = await textOf(path);
    if (found === undefined) return undefined;
    if (await isHeld(path, found, place, signal)) {
      const holder = holderIn(found);
      const who = holder ? `process ${holder.pid} on ${holder.host}` : "another process";
      throw new HeldError(folder, who);
    }
    // Who held it is dead. Several may find that out at once: the last to take its place wins.
    const own = `${path}.${token}.partial`;
    const opened = await write(own);
    if ((await textOf(path)) === found) {
      await fs.rename(own, path).catch(() => undefined);
      await sleep(SETTLE_MS);
      if (await isMine()) return opened;
    }
    await opened.close();
    await fs.rm(own, { force: true });
    return undefined;
  };
  let handle = await take();
  while (!handle) handle = await take();

  const opened = handle;
  let beats = 0;
  let isLost = false;
  let beating: Promise<unknown> = Promise.resolve();
  const beat = async () => {
    if (await isMine()) await opened.write(text(++beats), 0);
    else isLost = true;
  };
  const timer = setInterval(() => {
    // A folder that cannot be reached for a moment is no reason to stop; a write will say so.
    beating = beat().catch(() => undefined);
  }, BEAT_MS);
  // The process ends without waiting for it. In Deno it is a number.
  timer.unref?.();
  return {
    check() {
      if (!isLost) return;
      throw new PenjingError(
        folder,
        "another process took the folder over, as this one gave no sign of life; let that one finish.",
      );
    },
    async release() {
      clearInterval(timer);
      await beating;
      const owns = await isMine().catch(() => false);
      await opened.close();
      if (owns) await fs.rm(path, { force: true });
    },
  };
}
