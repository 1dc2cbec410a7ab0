import { fit } from "../quote.js";
import { orAborted } from "../run.js";
import { type HubOptions, readSettings } from "./settings.js";

/** How a hub answered. */
export interface HubAnswer {
  /** Its status; absent where no answer came. */
  readonly status?: number | undefined;
  readonly milliseconds: number;
  /** Why none came. */
  readonly reason?: string | undefined;
}

/** A hub as it is set. */
export interface HubState {
  readonly endpoint: string;
  readonly hasToken: boolean;
  /** Absent where nobody may be asked. */
  readonly answer?: HubAnswer | undefined;
}

/**
 * Asks the hub for the shortest list of models, once: the smallest request that also tells whether it
 * accepts the token. Redirects are not followed, so that the token goes to the hub alone.
 *
 * @param most milliseconds that are waited
 * @throws PenjingError for an address or a token that is none; the signal's reason when it is aborted
 */
export async function reachHub(options: HubOptions, most: number): Promise<HubState> {
  const { endpoint, token, offline, fetch, signal } = await readSettings(options);
  const state = { endpoint, hasToken: token !== undefined };
  if (offline) return state;
  const start = performance.now();
  const since = () => Math.round(performance.now() - start);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error(`no answer within ${most / 1000} s`)), most);
  try {
    const asked = fetch(`${endpoint}/api/models?limit=1`, {
      headers: token ? { authorization: `Bearer ${token}` } : {},
      redirect: "manual",
      signal: late.signal,
    });
    const response = await orAborted(asked, signal);
    const milliseconds = since();
    await response.body?.cancel().catch(() => {});
    return { ...state, answer: { status: response.status, milliseconds } };
  } catch (error) {
    signal?.throwIfAborted();
    const thrown = error instanceof Error ? error : new Error(String(error));
    const reason = thrown.cause instanceof Error ? thrown.cause.message : thrown.message;
    return { ...state, answer: { milliseconds: since(), reason: fit(reason, 120) } };
  } finally {
    clearTimeout(timer);
    // Where the wait was left, nothing is waited for any more.
    late.abort();
  }
}
