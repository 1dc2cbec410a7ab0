/** Calls to the worker, each with its events and its result. */
import type { CallName, Calls, Reply, Request } from "./messages.js";

/** Why a call ended without a result: one sentence for the person at the page. */
export class CallError extends Error {
  constructor(
    message: string,
    readonly isCancelled: boolean,
  ) {
    super(message);
  }
}

interface Pending {
  readonly event: (event: never) => void;
  readonly resolve: (result: never) => void;
  readonly reject: (error: CallError) => void;
}

export interface Call<Name extends CallName> {
  readonly result: Promise<Calls[Name]["result"]>;
  cancel(): void;
}

export class Caller {
  private readonly pending = new Map<number, Pending>();
  private last = 0;

  constructor(private readonly worker: Worker) {
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.hear(data);
    worker.onerror = ({ message }) => {
      const text = `The worker of this page stopped (${message || "no reason given"}); reload the page.`;
      for (const { reject } of this.pending.values()) reject(new CallError(text, false));
      this.pending.clear();
    };
  }

  private hear(reply: Reply): void {
    const pending = this.pending.get(reply.id);
    if (!pending) return;
    if ("event" in reply) {
      pending.event(reply.event as never);
      return;
    }
    this.pending.delete(reply.id);
    if ("error" in reply) pending.reject(new CallError(reply.error, reply.isCancelled));
    else pending.resolve(reply.result as never);
  }

  call<Name extends CallName>(
    call: Name,
    args: Calls[Name]["args"],
    event: (event: Calls[Name]["event"]) => void = () => {},
  ): Call<Name> {
    const id = ++this.last;
    const send = (request: Request) => this.worker.postMessage(request);
    const result = new Promise<Calls[Name]["result"]>((resolve, reject) => {
      this.pending.set(id, { event, resolve, reject } as Pending);
    });
    send({ id, call, args });
    return { result, cancel: () => send({ id, cancel: true }) };
  }
}
