import { PenjingError } from "../../errors.js";
import type { StartThread, Thread } from "../../platform/node-modules.js";
import { CONTROL, MESSAGE, serveTasks, TASKS, type ThreadData, WORDS } from "./thread.js";

/**
 * Threads, the caller among them, that call kernels over memory that they share. They start with the
 * first work, take part as soon as they are there, and sleep between batches.
 */
export class ThreadPool {
  private readonly threads: Thread[] = [];
  private readonly ids: Map<string, number>;
  private readonly int: Int32Array;
  private readonly float: Float64Array;
  /** Whether the caller may sleep. A page's main thread may not, and polls. */
  private canWait = true;
  private isStarted = false;

  /**
   * @param count threads, the caller included
   * @param instance the caller's own
   * @param setup calls that every other instance makes first
   */
  constructor(
    private readonly module: WebAssembly.Module,
    private readonly memory: WebAssembly.Memory,
    private readonly instance: WebAssembly.Instance,
    readonly count: number,
    private readonly start: StartThread,
    private readonly setup: ThreadData["setup"],
  ) {
    const names = WebAssembly.Module.exports(module).map(({ name }) => name);
    this.ids = new Map(names.map((name, id) => [name, id]));
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
      const given: ThreadData = { ...data, id, messages: MESSAGE, tasks: TASKS };
      this.threads.push(this.start(String(serveTasks), given));
    }
  }

  /**
   * Calls a kernel once for each list of arguments, in any order and on any thread.
   *
   * @param stride thread i adds i times this to the last argument; the caller is thread 0
   * @returns their results, in the order of `calls`
   * @throws PenjingError when a call failed, with what it threw as its cause; all others have ended
   */
  run(name: string, calls: readonly (readonly number[])[], stride: number): number[] {
    if (!this.isStarted) this.startThreads();
    const results: number[] = [];
    for (let i = 0; i < calls.length; i += TASKS.most) {
      results.push(...this.runBatch(name, calls.slice(i, i + TASKS.most), stride));
    }
    return results;
  }

  private runBatch(name: string, calls: readonly (readonly number[])[], stride: number): number[] {
    const { int, float } = this;
    const id = this.ids.get(name)!;
    for (const [i, args] of calls.entries()) {
      float.set([id, args.length, ...args], i * TASKS.width);
    }
    int[WORDS.failed] = 0;
    int[WORDS.stride] = stride;
    int[WORDS.pages] = this.memory.buffer.byteLength / 65536;
    Atomics.store(int, WORDS.done, 0);
    Atomics.store(int, WORDS.count, calls.length);
    Atomics.store(int, WORDS.left, calls.length);
    Atomics.add(int, WORDS.generation, 1);
    Atomics.notify(int, WORDS.generation);
    const own = this.takePart(name, calls);
    if (own) throw failure(name, own.error);
    if (int[WORDS.failed]) throw failure(name, new Error(this.message()));
    return calls.map((_, i) => float[(i + 1) * TASKS.width - 1]);
  }

  /** Runs tasks until none is left, and waits for the others; returns its own first error. */
  private takePart(
    name: string,
    calls: readonly (readonly number[])[],
  ): { error: unknown } | undefined {
    const { int, float } = this;
    const kernel = this.instance.exports[name] as (...args: number[]) => unknown;
    let failed: { error: unknown } | undefined;
    for (;;) {
      const task = Atomics.sub(int, WORDS.left, 1) - 1;
      if (task < 0) break;
      try {
        float[(task + 1) * TASKS.width - 1] = Number(kernel(...calls[task]) ?? 0);
      } catch (error) {
        failed ??= { error };
      }
      Atomics.add(int, WORDS.done, 1);
    }
    for (let looks = 0; ; looks++) {
      const done = Atomics.load(int, WORDS.done);
      if (done >= calls.length) return failed;
      if (looks > 1000 && this.canWait) this.wait(done);
    }
  }

  private wait(done: number): void {
    try {
      // The last task wakes it. Tasks may have ended since `done` was read: hence the limit of 1 ms.
      Atomics.wait(this.int, WORDS.done, done, 1);
    } catch {
      this.canWait = false;
    }
  }

  private message(): string {
    const { buffer } = this.memory;
    const bytes = new Uint8Array(buffer, CONTROL + MESSAGE.start, this.int[WORDS.message]);
    return new TextDecoder().decode(bytes.slice());
  }

  /** Ends the threads. */
  dispose(): void {
    for (const thread of this.threads) thread.end();
    this.threads.length = 0;
  }
}

function failure(kernel: string, cause: unknown): PenjingError {
  return new PenjingError(
    "wasm",
    `the kernel ${kernel} failed (${(cause as Error)?.message ?? cause}); please report this with the shapes used.`,
    { cause },
  );
}
