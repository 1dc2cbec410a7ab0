/** What a caller and the environment say of the hub, by the rules of Python's huggingface_hub. */
import { type Arguments, FLAG, SIGNAL, TEXT } from "../arguments.js";
import { PenjingError } from "../errors.js";
import { errorCode, fileError } from "../platform/file-errors.js";
import { HAS_FILES, loadFiles, loadPaths, loadSystem, variable } from "../platform/node-modules.js";
import { quote } from "../quote.js";

/** How the Hugging Face hub is reached. What is left out is taken from the environment. */
export interface HubOptions {
  /** A branch, tag or commit. @default what the name says behind its "@", else the default branch */
  readonly revision?: string | undefined;
  /** An access token. @default HF_TOKEN, else the file HF_TOKEN_PATH, else that of `hf auth login` */
  readonly token?: string | undefined;
  /** Address of the hub, https unless it is this machine. @default HF_ENDPOINT, else https://huggingface.co */
  readonly endpoint?: string | undefined;
  /**
   * Folder of the cache, which Python's huggingface_hub shares.
   *
   * @default HF_HUB_CACHE, else `hub` in HF_HOME, else ~/.cache/huggingface/hub
   */
  readonly cacheDir?: string | undefined;
  /** Take what the cache holds, and ask nobody. @default whether HF_HUB_OFFLINE is 1 */
  readonly offline?: boolean | undefined;
  /** In place of the runtime's own. */
  readonly fetch?: typeof globalThis.fetch | undefined;
  /** Stops the work. What has arrived is kept, and the next download goes on from there. */
  readonly signal?: AbortSignal | undefined;
}

/** What each of the options must be. */
export const HUB_ARGUMENTS: Arguments<HubOptions> = {
  revision: TEXT,
  token: TEXT,
  endpoint: TEXT,
  cacheDir: TEXT,
  offline: FLAG,
  fetch: { what: "a function", fits: (value) => typeof value === "function" },
  signal: SIGNAL,
};

/** The options with what the environment adds. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly offline: boolean;
  readonly fetch: typeof globalThis.fetch;
  readonly signal: AbortSignal | undefined;
  /** A connection that is silent for so long counts as cut, in milliseconds. */
  readonly silence: number;
}

const ENDPOINT = "https://huggingface.co";
const SILENCE_SECONDS = 30;
/** Longest file with a token that is read, in bytes. */
const LONGEST_TOKEN = 10_000;

/** A variable that is set to something. */
function set(name: string): string | undefined {
  return variable(name)?.trim() || undefined;
}

/** A path of the environment, in which ~ is the home folder. */
async function pathOf(name: string): Promise<string | undefined> {
  const path = set(name);
  if (!path || !/^~(?=[\\/]|$)/.test(path)) return path;
  return (await loadSystem()).homedir() + path.slice(1);
}

/** The folder of what belongs to Hugging Face. */
async function homeFolder(): Promise<string> {
  const { join } = await loadPaths();
  const cache = async () =>
    (await pathOf("XDG_CACHE_HOME")) ?? join((await loadSystem()).homedir(), ".cache");
  return (await pathOf("HF_HOME")) ?? join(await cache(), "huggingface");
}

/** The folder of the cache, absolute. */
export async function cacheFolder(cacheDir: string | undefined): Promise<string> {
  const { join, resolve } = await loadPaths();
  const named =
    cacheDir ?? (await pathOf("HF_HUB_CACHE")) ?? (await pathOf("HUGGINGFACE_HUB_CACHE"));
  return resolve(named ?? join(await homeFolder(), "hub"));
}

/** @throws PenjingError for an address or a token that is none */
export async function readSettings(options: HubOptions): Promise<HubSettings> {
  const { signal } = options;
  const endpoint = options.endpoint ?? set("HF_ENDPOINT") ?? ENDPOINT;
  const seconds = Number(set("HF_HUB_DOWNLOAD_TIMEOUT") ?? SILENCE_SECONDS);
  return {
    endpoint: checkEndpoint(endpoint),
    token: await readToken(options.token),
    offline: options.offline ?? /^(1|on|yes|true)$/i.test(set("HF_HUB_OFFLINE") ?? ""),
    fetch: options.fetch ?? ((...args) => globalThis.fetch(...args)),
    signal,
    silence: 1000 * (seconds > 0 ? seconds : SILENCE_SECONDS),
  };
}

/** Whether an address is this machine's own. */
export function isLocal({ hostname }: URL): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
}

function checkEndpoint(endpoint: string): string {
  const cure = "give an address such as https://huggingface.co (HF_ENDPOINT, in code `endpoint`)";
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw new PenjingError("endpoint", `${quote(endpoint)} is no address; ${cure}.`);
  }
  const isFit = url.protocol === "https:" || (url.protocol === "http:" && isLocal(url));
  if (!isFit || url.username !== "" || url.password !== "") {
    throw new PenjingError(
      "endpoint",
      `${quote(url.origin)} is not taken, as only https is, without a name or password in it, or this machine; ${cure}.`,
    );
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
}

async function readToken(given: string | undefined): Promise<string | undefined> {
  const named = given?.trim() ?? set("HF_TOKEN");
  const token = named ?? (HAS_FILES ? await storedToken() : undefined);
  if (!token) return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new PenjingError(
    "token",
    "it holds characters that no token has; copy it again from https://huggingface.co/settings/tokens (HF_TOKEN, in code `token`).",
  );
}

/** The token that was stored by `hf auth login`, or where the environment says. */
async function storedToken(): Promise<string | undefined> {
  const { readFile, stat } = await loadFiles();
  const { join } = await loadPaths();
  const named = await pathOf("HF_TOKEN_PATH");
  const path = named ?? join(await homeFolder(), "token");
  try {
    const found = await stat(path);
    if (!found.isFile() || found.size > LONGEST_TOKEN) {
      throw new PenjingError(path, "it is no file with a token; give one, or unset HF_TOKEN_PATH.");
    }
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    // Most people have none. One that cannot be read is missed only where it was asked for.
    if (named === undefined || errorCode(error) === "ENOENT") return undefined;
    throw fileError(path, "reading the token", error);
  }
}
