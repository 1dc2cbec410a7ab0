/** Answers the page's calls, one at a time, in a worker. */
import { PenjingError } from "penjing";
import type { Reply, Request } from "./messages.js";
import { Workbench } from "./workbench.js";

const scope = globalThis as unknown as {
  postMessage(reply: Reply): void;
  onmessage: (event: MessageEvent<Request>) => void;
};

const workbench = new Workbench();
const running = new Map<number, AbortController>();
/** The end of the calls so far. */
let last: Promise<unknown> = Promise.resolve();

function sentenceOf(error: unknown): string {
  if (error instanceof PenjingError) return error.message;
  const message = error instanceof Error ? error.message : String(error);
  return `Something unexpected went wrong: ${message}`;
}

async function answer({ id, call, args }: Exclude<Request, { cancel: true }>): Promise<void> {
  const controller = running.get(id)!;
  const { signal } = controller;
  const emit = (event: unknown) => scope.postMessage({ id, event });
  try {
    signal.throwIfAborted();
    const run = workbench[call].bind(workbench) as (
      args: unknown,
      emit: (event: unknown) => void,
      signal: AbortSignal,
    ) => Promise<unknown>;
    scope.postMessage({ id, result: await run(args, emit, signal) });
  } catch (error) {
    scope.postMessage({ id, error: sentenceOf(error), isCancelled: signal.aborted });
  } finally {
    running.delete(id);
  }
}

scope.onmessage = ({ data }) => {
  if ("cancel" in data) {
    running.get(data.id)?.abort();
    return;
  }
  running.set(data.id, new AbortController());
  last = last.then(() => answer(data));
};
