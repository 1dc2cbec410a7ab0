import { PenjingError } from "../../errors.js";
import type { StartThread, Thread } from "../../platform/node-modules.js";
import { CONTROL, MESSAGE, serveTasks, TASK, TASKS, type ThreadData, WORDS } from "./thread.js";

/** Where the numbers of a task are in the ring. */
function placeOf(task: number): number {
  return (task & (TASKS.most - 1)) * TASKS.width;
}

/**
 * Threads, the caller among them, that call kernels over memory that they share. They start with the
 * first work, take part as soon as they are there, and sleep where there is none.
 */
export class ThreadPool {
  private readonly threads: Thread[] = [];
  private readonly names: readonly string[];
  /** The caller's own, in the order of the names. */
  private readonly kernels: readonly ((...args: number[]) => unknown)[];
  private readonly ids: Map<string, number>;
  private readonly int: Int32Array;
  private readonly float: Float64Array;
  /** Whether the caller may sleep. A page's main thread may not, and polls. */
  private canWait = true;
  private isStarted = false;
  /** Tasks that ever were, and how many of them are known to be done. */
  private published = 0;
  private settled = 0;
  /** Most calls of a `queue` since then. */
  private most = 0;

  /**
   * @param count threads, the caller included
   * @param instance the caller's own
   * @param setup calls that every other instance makes first
   */
  constructor(
    private readonly module: WebAssembly.Module,
    private readonly memory: WebAssembly.Memory,
    instance: WebAssembly.Instance,
    readonly count: number,
    private readonly start: StartThread,
    private readonly setup: ThreadData["setup"],
  ) {
    this.names = WebAssembly.Module.exports(module).map(({ name }) => name);
    this.kernels = this.names.map((name) => instance.exports[name] as () => unknown);
    this.ids = new Map(this.names.map((name, id) => [name, id]));
    // A view made now stays good: memory that threads share never moves.
    this.int = new Int32Array(memory.buffer, CONTROL, TASKS.start / 4);
    const size = TASKS.most * TASKS.width;
    this.float = new Float64Array(memory.buffer, CONTROL + TASKS.start, size);
  }

  /** Threads that take part now. */
  get running(): number {
    return this.threads.length === 0 ? 1 : 1 + Atomics.load(this.int, WORDS.ready);
  }

  private startThreads(): void {
    this.isStarted = true;
    const { module, memory, setup } = this;
    const data = { module, memory, setup, control: CONTROL, words: WORDS };
    for (let id = 1; id < this.count; id++) {
      const given: ThreadData = { ...data, id, messages: MESSAGE, tasks: TASKS, task: TASK };
      this.threads.push(this.start(String(serveTasks), given));
    }
  }

  /** Whether tasks were queued that may not be done. */
  get isBusy(): boolean {
    return this.published !== this.settled;
  }

  /**
   * Calls a kernel once for each list of arguments, in any order and on any thread, after all that was
   * queued before.
   *
   * @param stride thread i adds i times this to the last argument; the caller is thread 0
   * @returns their results, in the order of `calls`
   * @throws PenjingError when a call failed, with what it threw as its cause; all others have ended
   */
  run(name: string, calls: readonly (readonly number[])[], stride: number): number[] {
    const { float } = this;
    const results: number[] = [];
    for (let i = 0; i < calls.length; i += TASKS.most) {
      const some = calls.slice(i, i + TASKS.most);
      const first = this.published;
      this.queue(name, some, stride);
      this.settle();
      for (let j = 0; j < some.length; j++) results.push(float[placeOf(first + j) + TASK.result]);
    }
    return results;
  }

  /**
   * The same, but the calls may be made later, though all of them before those of the next `queue`. What
   * they failed with is thrown by `settle`.
   *
   * @param calls at most as many as the ring has tasks
   */
  queue(name: string, calls: readonly (readonly number[])[], stride: number): void {
    if (!this.isStarted) this.startThreads();
    const { int, float } = this;
    const id = this.ids.get(name)!;
    const needs = this.published;
    let end = needs;
    if (calls.length > this.room()) this.settle();
    this.most = Math.max(this.most, calls.length);
    for (const args of calls) {
      const at = placeOf(end);
      float[at + TASK.kernel] = id;
      float[at + TASK.needs] = needs;
      float[at + TASK.stride] = stride;
      float[at + TASK.count] = args.length;
      for (let i = 0; i < args.length; i++) float[at + TASK.args + i] = args[i];
      end = (end + 1) | 0;
    }
    int[WORDS.pages] = this.memory.buffer.byteLength / 65536;
    this.published = end;
    Atomics.store(int, WORDS.published, end);
    if (Atomics.load(int, WORDS.idle) > 0) Atomics.notify(int, WORDS.published);
  }

  /** Tasks that may be written without touching one that is not done. */
  private room(): number {
    // The first of a `queue` may be the last to be done.
    const open = (this.published - Atomics.load(this.int, WORDS.done)) | 0;
    return TASKS.most - open - Math.max(0, this.most - 1);
  }

  /**
   * Takes part until all that was queued is done.
   *
   * @throws PenjingError when a call failed, with what it threw as its cause; all others have ended
   */
  settle(): void {
    const { int, float, published } = this;
    let failed: { readonly name: string; readonly error: unknown } | undefined;
    for (;;) {
      const next = Atomics.load(int, WORDS.next);
      if (next === published) break;
      const other = (next + 1) | 0;
      if (Atomics.compareExchange(int, WORDS.next, next, other) !== next) continue;
      const at = placeOf(next);
      this.untilDone(float[at + TASK.needs]);
      const kernel = float[at + TASK.kernel];
      const count = float[at + TASK.count];
      const args: number[] = [];
      for (let i = 0; i < count; i++) args.push(float[at + TASK.args + i]);
      try {
        float[at + TASK.result] = Number(this.kernels[kernel].apply(undefined, args) ?? 0);
      } catch (error) {
        failed ??= { name: this.names[kernel], error };
      }
      Atomics.add(int, WORDS.done, 1);
      if (Atomics.load(int, WORDS.blocked) > 0) Atomics.notify(int, WORDS.done);
    }
    this.untilDone(published);
    this.settled = published;
    this.most = 0;
    const others = Atomics.exchange(int, WORDS.failed, 0);
    if (failed) throw failure(failed.name, failed.error);
    if (others) {
      const [name, ...rest] = this.message().split(": ");
      throw failure(name, new Error(rest.join(": ")));
    }
  }

  /** Returns once so many tasks are done, of all that ever were. */
  private untilDone(count: number): void {
    const { int } = this;
    for (let looks = 0; ; looks++) {
      const done = Atomics.load(int, WORDS.done);
      if (((done - count) | 0) >= 0) return;
      if (looks > 5000 && this.canWait) this.wait(done);
    }
  }

  private wait(done: number): void {
    const { int } = this;
    Atomics.add(int, WORDS.blocked, 1);
    try {
      Atomics.wait(int, WORDS.done, done);
    } catch {
      this.canWait = false;
    } finally {
      Atomics.sub(int, WORDS.blocked, 1);
    }
  }

  private message(): string {
    const { buffer } = this.memory;
    const bytes = new Uint8Array(buffer, CONTROL + MESSAGE.start, this.int[WORDS.message]);
    return new TextDecoder().decode(bytes.slice());
  }

  /** Ends the threads, once what was queued is done: nobody looks at it any more. */
  dispose(): void {
    try {
      if (this.isBusy) this.settle();
    } catch {
      // A kernel that failed has nobody to tell.
    }
    for (const thread of this.threads) thread.end();
    this.threads.length = 0;
    // What is called all the same is done by the caller.
    this.isStarted = true;
  }
}

function failure(kernel: string, cause: unknown): PenjingError {
  return new PenjingError(
    "wasm",
    `the kernel ${kernel} failed (${(cause as Error)?.message ?? cause}); please report this with the shapes used.`,
    { cause },
  );
}
