/**
 * What threads and their pool agree on, and the program of a thread.
 *
 * Tasks lie in the kernels' own memory, below the first tensor, in a ring. A task is one call of an
 * exported kernel with numbers for arguments. The pool writes tasks and then raises `published` to how
 * many it has ever written. Whoever raises `next` by one, threads and the caller, may run the task of that
 * number, as soon as all tasks that it needs have raised `done`. All three count for ever, and wrap around.
 */

/** Byte address of all that follows: above the kernels' static data and tables. */
export const CONTROL = 0xc0000;
/** Places of counters, in i32 from CONTROL. Each that threads write has a cache line of its own. */
export const WORDS = {
  published: 0,
  next: 16,
  done: 32,
  ready: 48,
  /** How many threads sleep until more is published, and who sleeps until more is done. */
  idle: 64,
  blocked: 80,
  /** Pages of the memory. */
  pages: 96,
  /** 1 once a task threw. */
  failed: 97,
  /** Bytes of the message of what it threw. */
  message: 98,
} as const;
/** Where that message lies, in bytes from CONTROL, and its length at most. */
export const MESSAGE = { start: 1024, bytes: 1024 } as const;
/** The ring: where it starts, in bytes from CONTROL, its tasks, a power of two, and numbers of each. */
export const TASKS = { start: 4096, most: 512, width: 32 } as const;
/**
 * Places of a task's numbers: its kernel; how many tasks must be done before, of all that ever were; the
 * bytes that thread i adds i times to the last argument; how many arguments there are, and where they
 * start; the result.
 */
export const TASK = { kernel: 0, needs: 1, stride: 2, count: 3, args: 4, result: 31 } as const;

/** What a thread is started with; it can be sent to another thread. */
export interface ThreadData {
  /** Its number, from 1; the caller is 0. */
  readonly id: number;
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly control: number;
  readonly words: typeof WORDS;
  readonly messages: typeof MESSAGE;
  readonly tasks: typeof TASKS;
  readonly task: typeof TASK;
  /** Calls to make before the first task: an export's name, then its arguments. */
  readonly setup: readonly (readonly [string, ...number[]])[];
}

/**
 * The program of a thread: takes tasks until the thread is ended. It is sent as text, so it uses
 * nothing but its argument and what every runtime has.
 */
export async function serveTasks(data: ThreadData): Promise<void> {
  const { id, module, memory, control, words, messages, tasks, task, setup } = data;
  const abort = () => {
    throw new Error("the kernel stopped itself");
  };
  const instance = await WebAssembly.instantiate(module, { env: { memory, abort } });
  const exported = instance.exports as Record<string, (...args: number[]) => unknown>;
  for (const [name, ...args] of setup) exported[name](...args);
  const names = WebAssembly.Module.exports(module).map(({ name }) => name);
  const kernels = names.map((name) => exported[name]);
  const int = new Int32Array(memory.buffer, control, 128);
  const float = new Float64Array(memory.buffer, control + tasks.start, tasks.most * tasks.width);
  let pages = 0;

  const run = (at: number) => {
    const kernel = float[at + task.kernel];
    const count = float[at + task.count];
    const args: number[] = [];
    for (let i = 0; i < count; i++) args.push(float[at + task.args + i]);
    args[count - 1] += id * float[at + task.stride];
    try {
      const result = kernels[kernel].apply(undefined, args);
      float[at + task.result] = Number(result ?? 0);
    } catch (error) {
      const name = names[kernel];
      const text = new TextEncoder().encode(`${name}: ${(error as Error)?.message ?? error}`);
      const part = text.subarray(0, messages.bytes);
      if (Atomics.exchange(int, words.failed, 1) === 0) {
        new Uint8Array(memory.buffer, control + messages.start, part.length).set(part);
        Atomics.store(int, words.message, part.length);
      }
    }
  };
  /** Returns once a counter is no longer `seen`: looks for a while, and then sleeps. */
  const untilOther = (word: number, sleepers: number, seen: number, looks: number) => {
    for (let look = 0; look < looks; look++) if (Atomics.load(int, word) !== seen) return;
    Atomics.add(int, sleepers, 1);
    Atomics.wait(int, word, seen);
    Atomics.sub(int, sleepers, 1);
  };

  Atomics.add(int, words.ready, 1);
  for (;;) {
    // In this order: what is published never falls behind what was taken, so no task is taken too early.
    const next = Atomics.load(int, words.next);
    const published = Atomics.load(int, words.published);
    if (next === published) {
      // More often comes soon. A thread that then sleeps costs nothing.
      untilOther(words.published, words.idle, published, 20_000);
      continue;
    }
    if (Atomics.compareExchange(int, words.next, next, (next + 1) | 0) !== next) continue;
    const at = (next & (tasks.most - 1)) * tasks.width;
    const needs = float[at + task.needs];
    for (;;) {
      const done = Atomics.load(int, words.done);
      if (((done - needs) | 0) >= 0) break;
      untilOther(words.done, words.blocked, done, 5000);
    }
    const now = Atomics.load(int, words.pages);
    if (now !== pages) {
      // Growing by nothing lets this instance see that another thread has grown the memory.
      memory.grow(0);
      pages = now;
    }
    run(at);
    Atomics.add(int, words.done, 1);
    if (Atomics.load(int, words.blocked) > 0) Atomics.notify(int, words.done);
  }
}
