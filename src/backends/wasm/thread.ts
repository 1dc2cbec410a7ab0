/**
 * What threads and their pool agree on, and the program of a thread.
 *
 * Tasks lie in the kernels' own memory, below the first tensor. A task is one call of an exported
 * kernel with numbers for arguments. The pool writes all tasks of a batch, sets `left` to their
 * number and raises `generation` by one. Threads and the caller take a task by counting `left` down,
 * and count `done` up after it. A thread that comes late finds either no task left, or all tasks of
 * the next batch written.
 */

/** Byte address of all that follows: above the kernels' static data and tables. */
export const CONTROL = 0xc0000;
/** Places of counters, in i32 from CONTROL. Each that threads write has a cache line of its own. */
export const WORDS = {
  generation: 0,
  left: 16,
  done: 32,
  ready: 48,
  count: 64,
  pages: 65,
  /** 1 once a task of the batch threw. */
  failed: 66,
  /** Bytes of the message of what it threw. */
  message: 67,
  /** Bytes of scratch of one thread. Thread i adds i times this to a task's last argument. */
  stride: 68,
} as const;
/** Where that message lies, in bytes from CONTROL, and its length at most. */
export const MESSAGE = { start: 1024, bytes: 1024 } as const;
/** A task: which kernel, how many arguments, the arguments, and last the result. */
export const TASKS = { start: 4096, most: 256, width: 32 } as const;

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
  /** Calls to make before the first task: an export's name, then its arguments. */
  readonly setup: readonly (readonly [string, ...number[]])[];
}

/**
 * The program of a thread: takes tasks until the thread is ended. It is sent as text, so it uses
 * nothing but its argument and what every runtime has.
 */
export async function serveTasks(data: ThreadData): Promise<void> {
  const { id, module, memory, control, words, messages, tasks, setup } = data;
  const abort = () => {
    throw new Error("the kernel stopped itself");
  };
  const instance = await WebAssembly.instantiate(module, { env: { memory, abort } });
  const exported = instance.exports as Record<string, (...args: number[]) => unknown>;
  for (const [name, ...args] of setup) exported[name](...args);
  const names = WebAssembly.Module.exports(module).map(({ name }) => name);
  const int = new Int32Array(memory.buffer, control, 128);
  const float = new Float64Array(memory.buffer, control + tasks.start, tasks.most * tasks.width);
  let pages = 0;

  const run = (task: number) => {
    const at = task * tasks.width;
    const name = names[float[at]];
    const args = float.slice(at + 2, at + 2 + float[at + 1]);
    args[args.length - 1] += id * int[words.stride];
    try {
      const result = exported[name](...args);
      float[at + tasks.width - 1] = Number(result ?? 0);
    } catch (error) {
      const text = new TextEncoder().encode(`${name}: ${(error as Error)?.message ?? error}`);
      const part = text.subarray(0, messages.bytes);
      if (Atomics.exchange(int, words.failed, 1) === 0) {
        new Uint8Array(memory.buffer, control + messages.start, part.length).set(part);
        Atomics.store(int, words.message, part.length);
      }
    }
  };

  let seen = Atomics.load(int, words.generation);
  Atomics.add(int, words.ready, 1);
  for (;;) {
    for (;;) {
      const task = Atomics.sub(int, words.left, 1) - 1;
      if (task < 0) break;
      const now = Atomics.load(int, words.pages);
      if (now !== pages) {
        // Growing by nothing lets this instance see that another thread has grown the memory.
        memory.grow(0);
        pages = now;
      }
      run(task);
      const last = Atomics.load(int, words.count) - 1;
      if (Atomics.add(int, words.done, 1) === last) Atomics.notify(int, words.done);
    }
    // The next batch often comes soon. A thread that then waits costs nothing.
    for (let spin = 0; spin < 20_000; spin++) {
      if (Atomics.load(int, words.generation) !== seen) break;
    }
    Atomics.wait(int, words.generation, seen);
    seen = Atomics.load(int, words.generation);
  }
}
