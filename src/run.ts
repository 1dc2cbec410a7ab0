/**
 * Long work as a stream of events that ends in a result. Iterate it to follow the progress, or
 * await `result()` alone; either way it runs once.
 *
 * ```ts
 * const run = compress({ ... });
 * for await (const event of run) console.log(event);
 * const result = await run.result();
 * ```
 */
export class Run<Event, Result> implements AsyncIterable<Event> {
  private readonly steps: AsyncGenerator<Event, Result, void>;
  private readonly outcome: Promise<Result>;
  private settle!: { resolve: (result: Result) => void; reject: (reason: unknown) => void };

  constructor(steps: AsyncGenerator<Event, Result, void>) {
    this.steps = steps;
    this.outcome = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    // Whoever iterates gets the error there; it must not count as unhandled as well.
    this.outcome.catch(() => {});
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void, void> {
    let finished = false;
    try {
      for (;;) {
        const step = await this.steps.next();
        if (step.done) {
          finished = true;
          // A generator that had already ended gives undefined; the first end has settled it.
          if (step.value !== undefined) this.settle.resolve(step.value);
          return;
        }
        yield step.value;
      }
    } catch (error) {
      finished = true;
      this.settle.reject(error);
      throw error;
    } finally {
      if (!finished) {
        this.settle.reject(new DOMException("The iteration was left early.", "AbortError"));
        await this.steps.return(undefined as Result);
      }
    }
  }

  /** Runs what is left to run and resolves to the result. */
  async result(): Promise<Result> {
    try {
      for await (const _ of this);
    } catch {
      // The outcome carries the error.
    }
    return this.outcome;
  }
}

/** What Node, Deno and Bun have: the next turn comes at once, a timeout of 0 only after a millisecond. */
const { setImmediate: nextTurn = (done: () => void): unknown => setTimeout(done, 0) } =
  globalThis as { readonly setImmediate?: (done: () => void) => unknown };

/** Throws the signal's reason when it was aborted; lets timers and signals run in between. */
export async function pause(signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    try {
      nextTurn(resolve);
    } catch {
      // workerd has no timers outside of requests, where a model may be opened.
      resolve();
    }
  });
  signal?.throwIfAborted();
}

/** Milliseconds of work between looks at the signal. */
export const TURN = 40;

/** A function that pauses when 40 ms of work have passed since it last did. */
export function pacer(signal: AbortSignal | undefined): () => Promise<void> {
  let start = performance.now();
  return async () => {
    if (performance.now() - start < TURN) return;
    await pause(signal);
    start = performance.now();
  };
}

/** Work that ends in a result, and yields where it may rest. */
export type Restful<Result> = Generator<undefined, Result, void>;

/** Does such work in one go. */
export function withoutRest<Result>(steps: Restful<Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** Does such work and rests where it may, such as by a `pacer`. */
export async function withRest<Result>(
  steps: Restful<Result>,
  rest: () => Promise<void>,
): Promise<Result> {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    await rest();
  }
}

/** What a report says of an optimisation that its time ended. */
export function timeSpent(seconds: number, done: number, all: number, what: string): string {
  return `its time of ${Number(seconds.toPrecision(3))} s was spent after ${done} of ${all} ${what}`;
}

/** Whether a promise settles in time; its rejection counts as settled. */
export async function settlesWithin(
  work: Promise<unknown>,
  milliseconds: number,
): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  const settled = work.then(
    () => true,
    () => true,
  );
  const result = await Promise.race([settled, late]);
  clearTimeout(timer);
  return result;
}

/** Resolves after some time, or rejects with the signal's reason. */
export async function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const slept = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  try {
    await orAborted(slept, signal);
  } finally {
    clearTimeout(timer);
  }
}

/** What a promise gives, or sooner the signal's reason once it is aborted; what was begun goes on. */
export async function orAborted<Result>(
  work: Promise<Result>,
  signal: AbortSignal | undefined,
): Promise<Result> {
  if (!signal) return work;
  // Whoever stops waiting does not hear of its failure.
  work.catch(() => {});
  signal.throwIfAborted();
  let leave = () => {};
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason);
  });
  signal.addEventListener("abort", leave);
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
