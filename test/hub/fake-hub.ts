/** A hub on this machine that answers as the Hugging Face hub does, with faults on demand. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type FakeFiles = Readonly<Record<string, Uint8Array | string>>;

/** A repository at one commit, or at several. */
export interface FakeRepository {
  /** As in "org/name"; "datasets/org/name" for a dataset. */
  readonly id: string;
  /** Files by commit; the first commit is what "main" is at. @default one of `files` */
  readonly commits?: Readonly<Record<string, FakeFiles>>;
  readonly files?: FakeFiles;
  readonly gated?: boolean;
  readonly isPrivate?: boolean;
  /** The name that the repository has now. */
  readonly renamedTo?: string;
}

/** What a request for a file gets in the place of a plain answer. */
export type Fault =
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  /** The connection is cut after so many bytes of the body. */
  | { readonly cutAfter: number }
  /** Nothing is sent, and the connection stays. */
  | { readonly isSilent: true }
  /** The whole file, whatever was asked for. */
  | { readonly ignoresRange: true }
  /** Another file's tag. */
  | { readonly tag: string }
  /** One byte is another one. */
  | { readonly isDamaged: true }
  | { readonly redirect: string };

export interface Heard {
  /** Path with query. */
  readonly url: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
  readonly origin: "hub" | "cdn";
}

export const COMMIT = "a".repeat(40);
/** What the branch "dev" is at, where there are two commits. */
export const OTHER = "d".repeat(40);
/** Bytes that a client may lose of what was sent to it before a cut. */
export const LOST = 2 ** 16;
export const TOKEN = "hf_ok";

const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-headers": "authorization, range",
  "access-control-expose-headers":
    "etag, link, content-range, x-linked-etag, x-linked-size, x-error-code, x-error-message, retry-after, x-repo-commit",
  "access-control-max-age": "600",
};

function bytesOf(file: Uint8Array | string): Uint8Array {
  return typeof file === "string" ? new TextEncoder().encode(file) : file;
}

/** Whether the hub keeps a file as a large one, elsewhere. */
export function isLarge(path: string): boolean {
  return /\.(safetensors|gguf|parquet)$/.test(path);
}

/** The checksum by which a file is known. */
export function tagOf(path: string, file: Uint8Array | string): string {
  const bytes = bytesOf(file);
  return isLarge(path)
    ? createHash("sha256").update(bytes).digest("hex")
    : createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

export class FakeHub {
  /** Every request, in order. */
  readonly heard: Heard[] = [];
  /** Bytes of all bodies that were sent. */
  sent = 0;
  /** Of bodies of files alone. */
  fileBytes = 0;
  /** Asked at every request for a file, in the place where its bytes are. */
  fault: (path: string, range: string | undefined) => Fault | undefined = () => undefined;
  /** The same for the requests that are not for files. */
  apiFault: (path: string) => Fault | undefined = () => undefined;
  /** Files in each part of the list of them. */
  pageSize = 1000;
  /** Sends requests for large files to another origin, as the hub does. */
  hasCdn = true;
  private readonly repositories = new Map<string, FakeRepository>();
  private readonly large = new Map<string, Uint8Array>();

  private constructor(
    private readonly hub: Server,
    private readonly cdn: Server,
    readonly url: string,
    readonly cdnUrl: string,
  ) {}

  static async start(): Promise<FakeHub> {
    let fake: FakeHub;
    const listen = async (answer: (request: IncomingMessage, response: ServerResponse) => void) => {
      const server = createServer((request, response) => {
        if (request.method === "OPTIONS") response.writeHead(204, CORS).end();
        else answer(request, response);
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    };
    const hub = await listen((request, response) => fake.answer(request, response));
    const cdn = await listen((request, response) => fake.answerLarge(request, response));
    const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    fake = new FakeHub(hub, cdn, urlOf(hub), urlOf(cdn));
    return fake;
  }

  add(repository: FakeRepository): void {
    this.repositories.set(repository.id, repository);
  }

  /** Forgets what was heard and sent, and the faults. */
  reset(): void {
    this.heard.length = this.sent = this.fileBytes = 0;
    this.fault = this.apiFault = () => undefined;
    this.pageSize = 1000;
    this.hasCdn = true;
  }

  async close(): Promise<void> {
    for (const server of [this.hub, this.cdn]) {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    }
  }

  private hear(request: IncomingMessage, origin: Heard["origin"]): void {
    const { authorization, range } = request.headers;
    this.heard.push({ url: request.url!, authorization, range, origin });
  }

  private answer(request: IncomingMessage, response: ServerResponse): unknown {
    this.hear(request, "hub");
    const { pathname, searchParams } = new URL(request.url!, this.url);
    const path = decodeURIComponent(pathname.slice(1));
    const api = /^api\/(?:models\/|(datasets\/))(.+?)(?:\/(revision|tree)\/(.+))?$/.exec(path);
    const file = /^((?:datasets\/)?[^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const id = api ? (api[1] ?? "") + api[2] : file?.[1];
    const repository = id === undefined ? undefined : this.repositories.get(id);
    const isOk = request.headers.authorization === `Bearer ${TOKEN}`;
    const fault = api && this.apiFault(path);
    if (fault && "status" in fault) return this.json(response, fault.status, {}, fault.headers);
    if (request.headers.authorization && !isOk) {
      const headers = { "x-error-message": "Invalid credentials in Authorization header" };
      return this.json(response, 401, { error: "Invalid credentials" }, headers);
    }
    if (path === "api/models") return this.json(response, 200, []);
    if (!repository || (repository.isPrivate && !isOk)) {
      const headers = { "x-error-code": "RepoNotFound", "x-error-message": "Repository not found" };
      return this.json(response, isOk ? 404 : 401, {}, headers);
    }
    if (repository.renamedTo) {
      const location = request.url!.replace(
        id!.split("/").at(-1)!,
        repository.renamedTo.split("/")[1],
      );
      response
        .writeHead(307, { ...CORS, location: location.replace(id!, repository.renamedTo) })
        .end();
      return;
    }
    const commits = repository.commits ?? { [COMMIT]: repository.files ?? {} };
    const revision = api?.[4] ?? file?.[2] ?? "main";
    const branches: Record<string, string> = { main: Object.keys(commits)[0], dev: OTHER };
    const commit = branches[revision] ?? revision;
    const files = commits[commit];
    if (!files) return this.json(response, 404, {}, { "x-error-code": "RevisionNotFound" });
    if (api && api[3] !== "tree") {
      const { gated = false, isPrivate = false } = repository;
      const bare = repository.id.replace("datasets/", "");
      return this.json(response, 200, {
        _id: "1",
        id: bare,
        sha: commit,
        private: isPrivate,
        gated,
      });
    }
    if (repository.gated && !isOk) {
      return this.json(
        response,
        401,
        {},
        { "x-error-code": "GatedRepo", "x-error-message": "Access to model is restricted" },
      );
    }
    if (api) return this.list(response, files, pathname, Number(searchParams.get("cursor") ?? 0));
    const name = file![3];
    if (!Object.hasOwn(files, name)) {
      return this.json(response, 404, {}, { "x-error-code": "EntryNotFound" });
    }
    const bytes = bytesOf(files[name]);
    const tag = tagOf(name, bytes);
    if (!isLarge(name) || !this.hasCdn) {
      response.setHeader("x-repo-commit", commit);
      return this.file(request, response, name, bytes, tag);
    }
    this.large.set(tag, bytes);
    const moved = this.fault(`link ${name}`, undefined);
    const linked = moved && "tag" in moved ? moved.tag : tag;
    const location =
      moved && "redirect" in moved
        ? moved.redirect
        : `${this.cdnUrl}/${tag}/${encodeURIComponent(name)}?signed=1`;
    response
      .writeHead(302, {
        ...CORS,
        location,
        "x-repo-commit": commit,
        "x-linked-etag": `"${linked}"`,
        "x-linked-size": bytes.length,
      })
      .end();
  }

  private answerLarge(request: IncomingMessage, response: ServerResponse): void {
    this.hear(request, "cdn");
    const [, tag, name] = new URL(request.url!, this.url).pathname.split("/");
    // The tag of where it is stored has nothing to do with that of the hub.
    this.file(
      request,
      response,
      decodeURIComponent(name),
      this.large.get(tag)!,
      "stored-elsewhere",
    );
  }

  private list(
    response: ServerResponse,
    files: FakeFiles,
    pathname: string,
    from: number,
  ): unknown {
    const names = Object.keys(files).sort();
    const entries = names.slice(from, from + this.pageSize).map((path) => {
      const size = bytesOf(files[path]).length;
      const oid = tagOf(path, files[path]);
      const lfs = isLarge(path) && { lfs: { oid, size, pointerSize: 134 } };
      return { type: "file", path, size, ...(lfs || {}), oid: lfs ? "b".repeat(40) : oid };
    });
    const next = from + this.pageSize;
    const link = `<${this.url}${pathname}?recursive=true&cursor=${next}>; rel="next"`;
    const folder = { type: "directory", path: "onnx", size: 0, oid: "c".repeat(40) };
    return this.json(response, 200, [folder, ...entries], next < names.length ? { link } : {});
  }

  private json(
    response: ServerResponse,
    status: number,
    body: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): unknown {
    const text = JSON.stringify(body);
    this.sent += text.length;
    return response
      .writeHead(status, { ...CORS, "content-type": "application/json", ...headers })
      .end(text);
  }

  private file(
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    bytes: Uint8Array,
    tag: string,
  ): unknown {
    const { range, "if-range": ifRange } = request.headers;
    const fault = this.fault(name, range);
    if (fault && "isSilent" in fault) return undefined;
    if (fault && "redirect" in fault) {
      return response.writeHead(302, { ...CORS, location: fault.redirect }).end();
    }
    if (fault && "status" in fault) return this.json(response, fault.status, {}, fault.headers);
    const own = fault && "tag" in fault ? fault.tag : tag;
    const isPart =
      range && !(fault && "ignoresRange" in fault) && (!ifRange || ifRange === `"${own}"`);
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(isPart ? range : "bytes=0-")!;
    const [start, end] = [Number(first), last ? Number(last) + 1 : bytes.length];
    if (isPart && start >= bytes.length) return this.json(response, 416, {});
    const body = bytes.slice(start, Math.min(end, bytes.length));
    if (fault && "isDamaged" in fault) body[body.length >> 1] ^= 1;
    const cut = fault && "cutAfter" in fault ? Math.min(fault.cutAfter, body.length) : undefined;
    response.writeHead(isPart ? 206 : 200, {
      ...CORS,
      etag: `"${own}"`,
      "accept-ranges": "bytes",
      "content-length": body.length,
      ...(isPart && {
        "content-range": `bytes ${start}-${start + body.length - 1}/${bytes.length}`,
      }),
    });
    const part = cut === undefined ? body : body.subarray(0, cut);
    this.sent += part.length;
    this.fileBytes += part.length;
    if (cut === undefined) return response.end(part);
    return response.write(part, () => response.socket?.end());
  }
}
