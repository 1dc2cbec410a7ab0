import type { Backend, Operations } from "../backend.js";
import { orAborted } from "../run.js";

/**
 * The same backend, whose results are waited for only until a signal is aborted: a GPU may have
 * seconds of queued work before them.
 */
export function heeding(backend: Backend, signal: AbortSignal | undefined): Backend {
  if (!signal || backend.runsAtOnce) return backend;
  const ops = Object.fromEntries(
    Object.entries(backend.ops).map(([name, run]: [string, (...args: unknown[]) => unknown]) => [
      name,
      (...args: unknown[]) => {
        const result = run(...args);
        return result instanceof Promise ? orAborted(result, signal) : result;
      },
    ]),
  ) as unknown as Operations;
  const heeds: Pick<Backend, "ops" | "read"> = {
    ops,
    read: (tensor) => orAborted(backend.read(tensor), signal),
  };
  return Object.assign(Object.create(backend) as Backend, heeds);
}
