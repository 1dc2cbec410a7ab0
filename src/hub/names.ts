/** Names of repositories and files on the Hugging Face hub. */
import { PenjingError } from "../errors.js";
import { checkFileName } from "../platform/file-errors.js";
import { quote } from "../quote.js";

/** A repository on the hub, or one file in it. */
export interface HubName {
  readonly kind: "models" | "datasets";
  /** As in "org/name"; a few old ones are a name alone. */
  readonly repository: string;
  /** A branch, tag or commit; undefined for the default branch. */
  readonly revision: string | undefined;
  /** A file in it; undefined for all that make the model. */
  readonly file: string | undefined;
  /** Whether it was given as "org/name", which may have been meant as a path. */
  readonly isPlain: boolean;
}

const SCHEME = "hf://";
/** Longest name of a repository and of a revision. */
const LONGEST = 200;
/** A part of a repository's name, by the hub's rules. */
const PART = /^(?!.*(--|\.\.))[A-Za-z0-9_]([\w.-]*[A-Za-z0-9_])?$/;
/** Endings of files: what has one is a path that is mistyped. */
const FILE = /\.(safetensors|gguf|bin|pth?|json|ya?ml|txt)$/i;
/** Revisions that hold slashes of their own. */
const REFS = /^(refs\/[\w.-]+\/[\w.-]+)(?:\/(.*))?$/s;

/**
 * Whether a text may name a model on the hub: it begins with "hf://", or has the form "org/name". A
 * path that exists comes first, which this does not look at.
 */
export function isHubName(text: string): boolean {
  if (text.startsWith(SCHEME)) return true;
  const parts = text.split("/");
  return parts.length === 2 && parts.every((part) => PART.test(part)) && !FILE.test(text);
}

const RULE =
  "a name on the hub is hf://org/name, hf://org/name@revision, one of these with /file behind it, or plain org/name";

/** @throws PenjingError for what is no such name */
export function parseHubName(text: string, revision?: string): HubName {
  const fail = (what: string): never => {
    throw new PenjingError(text, `${what}; ${RULE}.`);
  };
  if (!isHubName(text)) fail("it is not a name on the hub");
  const bare = text.startsWith(SCHEME) ? text.slice(SCHEME.length) : text;
  const [, set, rest] = /^(datasets\/|models\/)?(.*)$/s.exec(bare)!;
  const kind = set === "datasets/" ? "datasets" : "models";
  const [, repository, at, behind] =
    /^([^/@]+(?:\/[^/@]+)?)(?:@([^/].*)|\/(.*))?$/s.exec(rest) ?? fail("it cannot be read");
  const parts = repository.split("/");
  if (repository.length > LONGEST || !parts.every((part) => PART.test(part))) {
    fail(`${quote(repository)} is no name of a repository`);
  }
  let own: string | undefined;
  let file = behind;
  if (at !== undefined) {
    const [, first, second] = REFS.exec(at) ?? /^([^/]+)(?:\/(.*))?$/s.exec(at)!;
    [own, file] = [decoded(first), second];
  }
  if (own !== undefined && revision !== undefined && own !== revision) {
    fail(`it names the revision ${quote(own)}, and \`revision\` another one, ${quote(revision)}`);
  }
  const chosen = own ?? revision;
  if (chosen !== undefined) checkRevision(text, chosen);
  if (file !== undefined) checkFileName(text, file);
  return { kind, repository, revision: chosen, file, isPlain: bare === text };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A revision becomes a path in the cache. */
function checkRevision(where: string, revision: string): void {
  const parts = revision.split("/");
  const isFit =
    revision.length <= LONGEST && parts.every((part) => /^(?!\.)[^\s\\:*?"<>|~^]+$/.test(part));
  if (isFit) return;
  throw new PenjingError(
    where,
    `${quote(revision)} is no revision; give a branch, a tag or a commit.`,
  );
}

/** The name as messages have it. */
export function textOf({ kind, repository, revision, file, isPlain }: HubName): string {
  if (isPlain && revision === undefined && file === undefined) return repository;
  const set = kind === "datasets" ? "datasets/" : "";
  const at = revision === undefined ? "" : `@${revision}`;
  return `${SCHEME}${set}${repository}${at}${file === undefined ? "" : `/${file}`}`;
}

/** Begins a sentence that says that a name leads nowhere. */
export function noPath({ isPlain }: HubName): string {
  return isPlain ? "there is no such path here, and " : "";
}

/** A path of a URL, each part of it encoded. */
export function encoded(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
