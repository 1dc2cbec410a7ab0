import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PenjingError } from "../src/errors.js";
import { pause, Run } from "../src/run.js";

const test = suite("run-events");

/** Counts what happened to the generator behind a run. */
interface Trace {
  steps: number;
  cleaned: number;
}

/** Emits 0, 1, ..., then returns "done"; throws in place of the event `failing`. */
async function* count(
  trace: Trace,
  events = 3,
  failing = Number.POSITIVE_INFINITY,
): AsyncGenerator<number, string, void> {
  try {
    for (let i = 0; i < events; i++) {
      await pause(undefined);
      if (i === failing) throw new PenjingError("count", `it cannot count to ${i}; stop before.`);
      trace.steps++;
      yield i;
    }
    return "done";
  } finally {
    await pause(undefined);
    trace.cleaned++;
  }
}

function trace(): Trace {
  return { steps: 0, cleaned: 0 };
}

async function collect(run: Run<number, string>): Promise<number[]> {
  const events: number[] = [];
  for await (const event of run) events.push(event);
  return events;
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    (value) => assert.unreachable(`it resolved to ${value}`) as never,
    (error) => error,
  );
}

test("nothing runs before it is asked for", async () => {
  const log = trace();
  new Run(count(log));
  await pause(undefined);
  assert.equal(log, { steps: 0, cleaned: 0 });
});

test("the events, then the result, as often as it is asked for", async () => {
  const log = trace();
  const run = new Run(count(log));
  assert.equal(await collect(run), [0, 1, 2]);
  assert.is(await run.result(), "done");
  assert.is(await run.result(), "done");
  assert.equal(await collect(run), []);
  assert.equal(log, { steps: 3, cleaned: 1 });
});

test("the result alone runs everything once", async () => {
  const log = trace();
  const run = new Run(count(log));
  assert.equal(await Promise.all([run.result(), run.result()]), ["done", "done"]);
  assert.equal(log, { steps: 3, cleaned: 1 });
});

test("a run without events has a result", async () => {
  assert.is(await new Run(count(trace(), 0)).result(), "done");
});

test("the result asked for halfway runs what is left", async () => {
  const log = trace();
  const run = new Run(count(log));
  const events = run[Symbol.asyncIterator]();
  assert.equal(await events.next(), { value: 0, done: false });
  assert.is(await run.result(), "done");
  assert.equal(await events.next(), { value: undefined, done: true });
  assert.equal(log, { steps: 3, cleaned: 1 });
});

test("the result asked for first and awaited last does not hold up the events", async () => {
  const log = trace();
  const run = new Run(count(log, 20));
  const result = run.result();
  const events = await collect(run);
  assert.is(await result, "done");
  assert.ok(events.length <= 20);
  assert.is(log.steps, 20);
});

test("an error reaches the iteration and the result", async () => {
  const log = trace();
  const run = new Run(count(log, 3, 1));
  const seen: number[] = [];
  const error = await rejection(
    (async () => {
      for await (const event of run) seen.push(event);
    })(),
  );
  assert.instance(error, PenjingError);
  assert.equal(seen, [0]);
  assert.is(await rejection(run.result()), error);
  assert.is(await rejection(run.result()), error);
  assert.equal(log, { steps: 1, cleaned: 1 });
});

test("an error reaches the result alone", async () => {
  const error = await rejection(new Run(count(trace(), 3, 0)).result());
  assert.match(error.message, "cannot count to 0");
});

test("an error that nobody asks the result for is no unhandled rejection", async () => {
  const unhandled: unknown[] = [];
  const listen = (reason: unknown) => unhandled.push(reason);
  process.on("unhandledRejection", listen);
  await rejection(collect(new Run(count(trace(), 3, 1))));
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off("unhandledRejection", listen);
  assert.equal(unhandled, []);
});

test("leaving early cleans up and rejects the result", async () => {
  const log = trace();
  const run = new Run(count(log));
  for await (const event of run) if (event === 1) break;
  assert.equal(log, { steps: 2, cleaned: 1 });
  assert.is((await rejection(run.result())).name, "AbortError");
  assert.equal(await collect(run), []);
});

test("an error thrown by who iterates cleans up, and is what they see", async () => {
  const log = trace();
  const run = new Run(count(log));
  const own = new Error("mine");
  const error = await rejection(
    (async () => {
      for await (const _ of run) throw own;
    })(),
  );
  assert.is(error, own);
  assert.is(log.cleaned, 1);
  assert.is((await rejection(run.result())).name, "AbortError");
});

/** Pauses again and again, for five seconds at most. */
async function pauseOn(signal: AbortSignal): Promise<void> {
  const start = performance.now();
  while (performance.now() - start < 5000) await pause(signal);
}

test("pauses let timers and signals run, and throw the reason of an abort", async () => {
  const reason = new Error("enough");
  const late = new AbortController();
  await pause(late.signal);
  setTimeout(() => late.abort(reason), 0);
  assert.is(await rejection(pauseOn(late.signal)), reason);
  assert.is(await rejection(pause(AbortSignal.abort(reason))), reason);
  if (process.platform === "win32") return;
  const signalled = new AbortController();
  process.once("SIGUSR2", () => signalled.abort(reason));
  process.kill(process.pid, "SIGUSR2");
  assert.is(await rejection(pauseOn(signalled.signal)), reason);
});

test("a pause does not wait for the clock", async () => {
  const start = performance.now();
  for (let i = 0; i < 5000; i++) await pause(undefined);
  const took = performance.now() - start;
  // A timeout of 0 takes a millisecond.
  assert.ok(took < 2500, `${took} ms`);
});

test.run();
