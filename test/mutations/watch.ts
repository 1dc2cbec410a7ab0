/** Workers that read cases, and a look at each every 100 ms. */
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import type { Order, Told } from "./worker.js";

/** No input takes more of the processor's time, in milliseconds. */
export const LONGEST_MS = 2000;
/** Nor longer by the clock: a machine that does other work makes it late. */
const LATEST_MS = 10_000;
const LOOK_MS = 100;
/** Of the kernel's clock. */
const TICK_MS = 10;

/** Why a worker is given up. */
class GivenUp extends Error {}

/** Milliseconds of the processor that a thread has taken; of the clock where nothing tells them. */
function timeOf(thread: number): number {
  if (thread === 0) return performance.now();
  try {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [user, system] = [fields[11], fields[12]].map(Number);
    return (user + system) * TICK_MS;
  } catch {
    return 0;
  }
}

/** Reads cases in one worker until it is through, or one ends it: then its number and the reason. */
async function readIn(
  order: Omit<Order, "at">,
  tell: (told: Told) => void,
): Promise<{ readonly index: number; readonly reason: string } | undefined> {
  const at = new Int32Array(new SharedArrayBuffer(8)).fill(-1);
  const worker = new Worker(new URL("./worker.js", import.meta.url), {
    workerData: { ...order, at } satisfies Order,
    resourceLimits: { maxOldGenerationSizeMb: 1024 },
  });
  let seen = -1;
  let since = { clock: 0, work: 0 };
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const look = () => {
        const [index, thread] = [Atomics.load(at, 0), Atomics.load(at, 1)];
        const now = { clock: performance.now(), work: timeOf(thread) };
        if (index !== seen) [seen, since] = [index, now];
        if (index < 0) return;
        if (now.work - since.work > LONGEST_MS) reject(new GivenUp(`over ${LONGEST_MS} ms`));
        if (now.clock - since.clock > LATEST_MS) reject(new GivenUp(`over ${LATEST_MS} ms`));
      };
      timer = setInterval(look, LOOK_MS);
      worker.on("message", tell);
      worker.on("error", (error) =>
        reject(new GivenUp(`it ended the thread: ${error?.stack ?? error}`)),
      );
      worker.on("exit", () => {
        // A case that waits for what never comes lets its thread end.
        if (Atomics.load(at, 0) >= 0) reject(new GivenUp("it never ended"));
        else resolve();
      });
    });
    return undefined;
  } catch (error) {
    if (!(error instanceof GivenUp)) throw error;
    return { index: Atomics.load(at, 0), reason: error.message };
  } finally {
    clearInterval(timer);
    // A thread that waits in the system never ends.
    await Promise.race([worker.terminate(), new Promise((resolve) => setTimeout(resolve, 1000))]);
  }
}

/** Reads cases, and goes on behind one that ends its worker. */
export async function readAll(order: Omit<Order, "at">): Promise<Told[]> {
  const all: Told[] = [];
  let { indices } = order;
  while (indices.length > 0) {
    const given = await readIn({ ...order, indices }, (told) => void all.push(told));
    if (!given) break;
    const { index, reason } = given;
    if (index < 0) throw new Error(`a worker ended between cases: ${reason}`);
    all.push({ index, ending: "fault", fault: reason, ms: LONGEST_MS });
    indices = indices.slice(indices.indexOf(index) + 1);
  }
  return all;
}
