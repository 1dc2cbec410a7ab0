/** Requests to the hub: whom the token is sent to, what is tried again, and what an answer must be. */
import pLimit from "p-limit";
import pRetry from "p-retry";
import { PenjingError } from "../errors.js";
import { HAS_FILES } from "../platform/node-modules.js";
import { quote } from "../quote.js";
import { sleep } from "../run.js";
import { type Asked, rateSentence, refusalError, UnreachableError } from "./failures.js";
import { type HubSettings, isLocal } from "./settings.js";

/** Requests that are in flight at a time. */
const AT_A_TIME = 4;
/** How often a request is tried again, and how long the first wait is, in milliseconds. */
const RETRIES = 4;
const FIRST_WAIT = 250;
/** The hub may ask to be left alone for so long, in seconds; what is longer ends the run. */
const LONGEST_WAIT = 300;
const MOST_REDIRECTS = 8;
/** Longest list or description that is read, in bytes. */
const LONGEST_JSON = 100_000_000;

const REDIRECTS = [301, 302, 303, 307, 308];
const PASSING = [408, 425, 429, 500, 502, 503, 504];

/** A failure that may pass. */
export class Passing extends Error {
  constructor(
    /** What is said when it does not. */
    readonly failure: PenjingError,
    /** Milliseconds that were asked for. */
    readonly wait = 0,
  ) {
    super(failure.message, { cause: failure.cause });
  }
}

export interface Wanted {
  /** As in "bytes=0-7". */
  readonly range?: string | undefined;
  /** The range is only wanted of the file with this tag. */
  readonly ifRange?: string | undefined;
}

/** A successful answer, of which the body is not read yet. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The file's tag as the hub itself gives it; undefined where it does not. */
  readonly tag: string | undefined;
  /** Where the last redirect led. */
  readonly url: URL;
  /** The body. Ends early with `Passing` when the connection is cut or silent. */
  chunks(): AsyncGenerator<Uint8Array, void, void>;
  /** For a body that is not read. */
  cancel(): Promise<void>;
}

/** Aborts when nothing is heard for some time, or when the caller's signal does. */
class Watch {
  private readonly controller = new AbortController();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly pass = () => this.controller.abort(this.outer?.reason);

  constructor(
    private readonly silence: number,
    private readonly outer: AbortSignal | undefined,
  ) {
    outer?.throwIfAborted();
    outer?.addEventListener("abort", this.pass);
    this.heard();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  heard(): void {
    clearTimeout(this.timer);
    const reason = new Error(`nothing came for ${this.silence / 1000} s`);
    this.timer = setTimeout(() => this.controller.abort(reason), this.silence);
  }

  rest(): void {
    clearTimeout(this.timer);
  }

  end(): void {
    this.rest();
    this.outer?.removeEventListener("abort", this.pass);
  }
}

/** Speaks to one hub. */
export class Client {
  readonly limit = pLimit(AT_A_TIME);
  private readonly origin: string;
  /** "follow" where the runtime, a browser, shows nobody where a redirect leads. */
  private redirects: RequestRedirect = "manual";

  constructor(
    private readonly settings: HubSettings,
    /** Hears of waits that take long. */
    private readonly tell: (note: string) => void = () => {},
  ) {
    this.origin = new URL(settings.endpoint).origin;
  }

  get signal(): AbortSignal | undefined {
    return this.settings.signal;
  }

  get hasToken(): boolean {
    return this.settings.token !== undefined;
  }

  /** The address of a path below the hub's. */
  url(path: string): URL {
    return new URL(`${this.settings.endpoint}/${path}`);
  }

  /** @throws PenjingError for an answer that is no JSON of a bearable length */
  async json(url: URL, asked: Asked): Promise<{ readonly body: unknown; readonly next?: URL }> {
    const parts: Uint8Array[] = [];
    let length = 0;
    const read = async () => {
      parts.length = length = 0;
      const answer = await this.attempt(url, asked, {});
      for await (const chunk of answer.chunks()) {
        parts.push(chunk);
        length += chunk.length;
        if (length > LONGEST_JSON) throw notTheHub(url, "is too long");
      }
      return answer;
    };
    const { headers } = await this.again(read, asked);
    const text = await new Blob(parts as Uint8Array<ArrayBuffer>[]).text();
    const [, link] = /<([^>]+)>;\s*rel="next"/.exec(headers.get("link") ?? "") ?? [];
    const next = link === undefined ? undefined : new URL(link, url);
    if (next && next.origin !== url.origin) throw notTheHub(url, "goes on in another place");
    try {
      return { body: JSON.parse(text), ...(next && { next }) };
    } catch {
      throw notTheHub(url, "is no JSON");
    }
  }

  /** Opens a file. Failures that may pass are waited for; those of the body are the reader's. */
  open(url: URL, asked: Asked, wanted: Wanted): Promise<Answer> {
    return this.again(() => this.attempt(url, asked, wanted), asked);
  }

  private async again<Result>(attempt: () => Promise<Result>, asked: Asked): Promise<Result> {
    const { signal } = this.settings;
    try {
      return await pRetry(attempt, {
        ...{ retries: RETRIES, minTimeout: FIRST_WAIT, factor: 2, randomize: true },
        ...(signal && { signal }),
        shouldRetry: ({ error }) => error instanceof Passing && error.wait <= 1000 * LONGEST_WAIT,
        onFailedAttempt: async ({ error, retriesLeft }) => {
          if (!(error instanceof Passing) || retriesLeft === 0) return;
          const { wait } = error;
          if (wait === 0 || wait > 1000 * LONGEST_WAIT) return;
          this.tell(`the hub asks to wait ${Math.ceil(wait / 1000)} s (${asked.where})`);
          await sleep(wait, signal);
        },
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw error instanceof Passing ? error.failure : error;
    }
  }

  private async attempt(url: URL, asked: Asked, wanted: Wanted): Promise<Answer> {
    const { signal, silence } = this.settings;
    const watch = new Watch(silence, signal);
    let isKept = false;
    try {
      const { response, tag, at } = await this.follow(url, asked, wanted, watch.signal);
      watch.heard();
      const { status } = response;
      if (status === 200 || status === 206) {
        isKept = true;
        return answerOf(response, { tag, at, watch, asked, signal });
      }
      await response.body?.cancel().catch(() => {});
      throw this.refusal(response, asked);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof PenjingError || error instanceof Passing) throw error;
      throw new Passing(unreachable(asked, url, error));
    } finally {
      if (!isKept) watch.end();
    }
  }

  private refusal({ status, headers }: Response, asked: Asked): Error {
    const [code, message] = [headers.get("x-error-code"), headers.get("x-error-message")];
    const failure = refusalError(asked, { status, code, message });
    if (!PASSING.includes(status)) return failure;
    const wait = waitOf(headers.get("retry-after"));
    if (status !== 429 || wait === undefined) return new Passing(failure, wait);
    const sentence = rateSentence(wait / 1000, asked.hasToken);
    return new Passing(new PenjingError(asked.where, sentence), wait);
  }

  /** Follows redirects by itself, so that the token goes to the hub alone. */
  private async follow(url: URL, asked: Asked, { range, ifRange }: Wanted, signal: AbortSignal) {
    const { token, fetch } = this.settings;
    let at = url;
    let isOwn = true;
    let tag: string | undefined;
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      isOwn &&= at.origin === this.origin;
      const headers: Record<string, string> = {};
      // Compressed, the bytes would be others than those that are counted.
      if (range) Object.assign(headers, { range, "accept-encoding": "identity" });
      // A browser would first ask whether this header is allowed, which it is not.
      if (ifRange && isOwn && HAS_FILES) headers["if-range"] = ifRange;
      if (token && isOwn) headers.authorization = `Bearer ${token}`;
      const response = await fetch(at, { headers, redirect: this.redirects, signal });
      if (response.type === "opaqueredirect") {
        // A browser, which takes the token off when it goes elsewhere.
        this.redirects = "follow";
        continue;
      }
      const isRedirect = REDIRECTS.includes(response.status);
      if (isOwn && !response.redirected) tag ??= tagOf(response.headers, hop === 0 && !isRedirect);
      if (!isRedirect) return { response, tag, at };
      await response.body?.cancel().catch(() => {});
      at = this.target(response.headers.get("location"), at, asked);
    }
    throw new PenjingError(
      asked.where,
      `the hub sends requests from one address to the next, ${MOST_REDIRECTS} times and more; check HF_ENDPOINT.`,
    );
  }

  private target(location: string | null, from: URL, { where }: Asked): URL {
    let to: URL | undefined;
    try {
      to = location === null ? undefined : new URL(location, from);
    } catch {
      // Refused below.
    }
    const isLocalHub = isLocal(new URL(this.origin));
    if (to?.protocol === "https:" || (to?.protocol === "http:" && isLocalHub && isLocal(to))) {
      return to;
    }
    throw new PenjingError(
      where,
      `the hub sends on to ${quote(to?.origin ?? location)}, and only https is followed; check HF_ENDPOINT and the network's proxy.`,
    );
  }
}

/** What an answer is made of. */
interface Grounds {
  readonly tag: string | undefined;
  readonly at: URL;
  readonly watch: Watch;
  readonly asked: Asked;
  readonly signal: AbortSignal | undefined;
}

function answerOf(response: Response, { tag, at, watch, asked, signal }: Grounds): Answer {
  const { status, headers, body } = response;
  return {
    ...{ status, headers, tag, url: at },
    async *chunks() {
      const reader = body?.getReader();
      try {
        for (;;) {
          const part = await reader?.read();
          if (!part || part.done) return;
          // What is done with it meanwhile is not the connection's silence.
          watch.rest();
          yield part.value;
          watch.heard();
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof PenjingError) throw error;
        throw new Passing(unreachable(asked, at, error));
      } finally {
        watch.end();
        await reader?.cancel().catch(() => {});
      }
    },
    async cancel() {
      watch.end();
      await body?.cancel().catch(() => {});
    },
  };
}

/**
 * The tag of the file that an address of the hub stands for.
 *
 * @param isFile whether the answer is the file itself, whose own tag then is the same
 */
function tagOf(headers: Headers, isFile: boolean): string | undefined {
  const tag = headers.get("x-linked-etag") ?? (isFile ? headers.get("etag") : null);
  return tag?.replace(/^W\//, "").replace(/^"|"$/g, "");
}

/** Milliseconds of a Retry-After, in seconds or as a date; undefined without one. */
function waitOf(text: string | null): number | undefined {
  if (text === null) return undefined;
  const wait = /^\d+$/.test(text) ? 1000 * Number(text) : Date.parse(text) - Date.now();
  return Number.isNaN(wait) ? undefined : Math.max(0, wait);
}

function unreachable({ where, noPath }: Asked, { host }: URL, error: unknown): PenjingError {
  const thrown = error instanceof Error ? error : new Error(String(error));
  const reason = thrown.cause instanceof Error ? thrown.cause.message : thrown.message;
  return new UnreachableError(
    where,
    `${noPath}${host} cannot be reached, or the connection is cut again and again (${reason}); check the network, or take what is downloaded already with \`offline\`.`,
    { cause: thrown },
  );
}

/** The error of an answer that no hub gives. */
export function notTheHub(url: URL, what: string): PenjingError {
  return new PenjingError(
    url.origin + url.pathname,
    `the answer ${what}, so that it is not that of a Hugging Face hub; check HF_ENDPOINT and the network's proxy.`,
  );
}
