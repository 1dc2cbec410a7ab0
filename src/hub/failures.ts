/** What the hub's refusals mean, each in one sentence with its cure. */
import { PenjingError } from "../errors.js";
import { fit, quote } from "../quote.js";

/** Who asked for what. */
export interface Asked {
  /** The name of the model or file, for messages. */
  readonly where: string;
  /** Its page on the hub. */
  readonly page: string;
  readonly revision: string | undefined;
  /** Begins a sentence that says that the name leads nowhere. */
  readonly noPath: string;
  readonly hasToken: boolean;
}

/** What an answer says besides its body. */
export interface Refusal {
  readonly status: number;
  /** X-Error-Code. */
  readonly code: string | null;
  /** X-Error-Message. */
  readonly message: string | null;
}

const TOKENS = "https://huggingface.co/settings/tokens";
const GIVE = `give a token of an account that may read it (HF_TOKEN; ${TOKENS} makes one)`;
const LATER = "try again later";

/** Nobody could be reached, or the answers stopped: what is cached may do instead. */
export class UnreachableError extends PenjingError {}

/** The sentence for an answer that is no success. */
export function refusalError(
  { where, page, revision, noPath, hasToken }: Asked,
  { status, code, message }: Refusal,
): PenjingError {
  const fail = (sentence: string) => new PenjingError(where, sentence);
  const said = message ? ` (${fit(message, 120)})` : "";
  if (code === "GatedRepo") {
    const cure = hasToken
      ? "with the account that the token is of, or wait until the authors grant it access"
      : `and give a token of your account (HF_TOKEN; ${TOKENS} makes one)`;
    return fail(`the repository is gated: accept its terms at ${page} ${cure}.`);
  }
  if (code === "DisabledRepo") return fail(`the hub has disabled it${said}; take another model.`);
  if (code === "RevisionNotFound") {
    const which = revision === undefined ? "the revision" : `the revision ${quote(revision)}`;
    return fail(
      `the hub does not have ${which} of it; ${page}/tree/main lists those that are there.`,
    );
  }
  if (code === "EntryNotFound") {
    return fail(
      `there is no such file in the repository; ${page}/tree/main lists those that are there.`,
    );
  }
  if (status === 401 && hasToken && /credentials|token/i.test(message ?? "")) {
    return fail(`the hub does not accept the token${said}; make a new one at ${TOKENS}.`);
  }
  if (code === "RepoNotFound" || status === 401 || status === 404) {
    const cure = hasToken
      ? "take a token of an account that may read it"
      : `if it is private, ${GIVE}`;
    return fail(
      `${noPath}the hub has nothing of this name, or it is private; check the spelling, and ${cure}.`,
    );
  }
  if (status === 403) return fail(`the hub denies access to it${said}; ${GIVE}.`);
  if (status === 416) return fail(movedSentence("is shorter than the hub's list says"));
  if (status === 429) return fail(rateSentence(undefined, hasToken));
  if (status >= 500) return fail(`the hub is in trouble (it answers ${status}${said}); ${LATER}.`);
  return fail(
    `the hub answers ${status}${said}, which is not expected; check HF_ENDPOINT, or ${LATER}.`,
  );
}

/** What is said when too much was asked. */
export function rateSentence(seconds: number | undefined, hasToken: boolean): string {
  const wait = seconds === undefined ? "wait some minutes" : `wait ${Math.ceil(seconds / 60)} min`;
  const cure = hasToken ? "" : ", or give a token (HF_TOKEN), with which more is allowed";
  return `the hub answers that too much was asked in a short time (429); ${wait} and try again${cure}.`;
}

/** What is said when the files of a revision are no longer what they were. */
export function movedSentence(what: string): string {
  return `the file ${what}, so that the revision changed on the hub in mid-run; run again, with a commit as the \`revision\` where that happens often.`;
}
