import { PenjingError } from "../errors.js";
import type { HubOptions } from "../hub/settings.js";
import { folderSize } from "../platform/folder-size.js";
import { freeDisk } from "../platform/free-disk.js";
import { HAS_FILES } from "../platform/node-modules.js";
import { roomOf } from "./machine.js";
import type { CacheFinding, HubFinding } from "./options.js";

/** Milliseconds that the hub has for an answer, and that the cache is counted. */
const HUB_MS = 3000;
const COUNT_MS = 3000;

/** Asks the hub, unless it is to be left alone. Nothing is thrown but the signal's reason. */
export async function hubFinding(options: HubOptions): Promise<HubFinding> {
  const { reachHub } = await import("../hub/hub.js");
  try {
    const { endpoint, hasToken, answer } = await reachHub(options, HUB_MS);
    const facts = { endpoint, hasToken };
    if (!answer) return { mark: "ok", ...facts };
    const { status, milliseconds, reason } = answer;
    if (status === undefined) {
      const cure =
        "check the network, the proxy and HF_ENDPOINT; models on this machine, and those in the cache with `offline`, need no hub.";
      return { mark: "note", cure, ...facts, answers: false, reason };
    }
    return { ...judge(status, hasToken), ...facts, answers: true, milliseconds };
  } catch (error) {
    if (!(error instanceof PenjingError)) throw error;
    return { mark: "fault", cure: error.bare, reason: `what is set cannot be used` };
  }
}

/** What the status of an answer to a request for the list of models means. */
function judge(status: number, hasToken: boolean): Pick<HubFinding, "mark" | "cure" | "reason"> {
  // A redirect, which nobody follows here, is an answer too; browsers give it the status 0.
  if (status < 400) return { mark: "ok" };
  if (status === 401 && hasToken) {
    const cure = "make a new token at https://huggingface.co/settings/tokens (HF_TOKEN).";
    return { mark: "fault", cure, reason: "it does not accept the token" };
  }
  const reason = `it answers ${status}`;
  if (status === 429 || status >= 500) return { mark: "note", cure: "try again later.", reason };
  return { mark: "note", cure: "check HF_ENDPOINT and the proxy.", reason };
}

/** The cache's folder; undefined where there is no disk. */
export async function cacheFinding({
  cacheDir,
  signal,
}: HubOptions): Promise<CacheFinding | undefined> {
  if (!HAS_FILES) return undefined;
  const { cacheFolder } = await import("../hub/hub.js");
  const path = await cacheFolder(cacheDir);
  const { bytes, isWhole } = await folderSize(path, { milliseconds: COUNT_MS, signal });
  const free = await freeDisk(path);
  return {
    ...roomOf(free, "set HF_HUB_CACHE to a folder on another one"),
    path,
    bytes,
    isWhole,
    free,
  };
}
