/** Reads cases one after another; another thread watches how long each takes. */
import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { makeCase, openSmall } from "./cases.js";
import { Fault, judge } from "./kind.js";

/** What the worker is told. */
export interface Order {
  readonly seed: number;
  readonly indices: readonly number[];
  /** The case at hand, -1 when there is none; and the thread's number where Linux tells it, else 0. */
  readonly at: Int32Array<SharedArrayBuffer>;
  /** What happens instead of a case: for a test of the watch. */
  readonly instead?: Readonly<Record<number, "loops" | "waits" | "throws" | "throws later">>;
}

/** What it tells. */
export interface Told {
  readonly index: number;
  readonly ending: "read" | "refused" | "fault";
  readonly fault?: string | undefined;
  readonly ms: number;
}

const { seed, indices, at, instead = {} } = workerData as Order;

async function act(what: string): Promise<void> {
  if (what === "waits") await new Promise(() => {});
  if (what === "throws") throw new Fault("on purpose");
  if (what === "throws later") void Promise.reject(new Error("on purpose"));
  while (what === "loops");
}

/** The number under which Linux keeps this thread's times. */
function threadNumber(): number {
  try {
    return Number(basename(readlinkSync("/proc/thread-self")));
  } catch {
    return 0;
  }
}

Atomics.store(at, 1, threadNumber());
const backend = await openSmall();
const warnings: string[] = [];
process.on("warning", ({ message }) => warnings.push(message));
for (const index of indices) {
  const one = await makeCase(seed, index, backend);
  const before = backend.memory().live;
  const start = performance.now();
  Atomics.store(at, 0, index);
  let told: Omit<Told, "index" | "ms">;
  try {
    if (instead[index]) await act(instead[index]);
    const ending = await judge(one);
    // Warnings and rejections that nobody awaits come a turn later.
    await new Promise(setImmediate);
    if (warnings.length > 0) throw new Fault(`prints ${warnings.splice(0)}`);
    const left = backend.memory().live - before;
    if (left !== 0) throw new Fault(`leaves ${left} bytes on the backend`);
    told = { ending };
  } catch (error) {
    const fault = error instanceof Fault ? error.message : String((error as Error).stack);
    told = { ending: "fault", fault };
  }
  Atomics.store(at, 0, -1);
  parentPort?.postMessage({ index, ...told, ms: performance.now() - start } satisfies Told);
}
