import picomatch from "picomatch";
import { PenjingError } from "../errors.js";
import { EMBEDDING, HEAD } from "../model.js";
import { quote } from "../quote.js";
import type { StepReach } from "./transform.js";

/** Longest glob, in UTF-16 code units: names of layers are shorter. */
const LONGEST_GLOB = 1000;

const OUTER = [HEAD, EMBEDDING].map((name) => name.replace(/\.weight$/, ""));

/** What a step's `ignore` is when it is not given. */
export const DEFAULT_IGNORE: readonly string[] = OUTER;

/** Which of a step's globs a layer's name matches. */
export interface Reach {
  includes(name: string): boolean;
  /** The overrides that apply, merged: later ones win. */
  changes(name: string): Readonly<Record<string, unknown>>;
}

/** @throws PenjingError for a text that is no glob, or one that is too long to be one */
function compileGlob(glob: string, where: string): (name: string) => boolean {
  const fail = (reason: string, cause?: unknown): never => {
    const cure = "write * for any characters, as in model.layers.0.*";
    throw new PenjingError(where, `${quote(glob)} is no glob (${reason}); ${cure}.`, { cause });
  };
  if (glob.length > LONGEST_GLOB) return fail(`it has more than ${LONGEST_GLOB} characters`);
  try {
    return picomatch(glob);
  } catch (error) {
    return fail((error as Error).message, error);
  }
}

/**
 * Compiles a step's globs.
 *
 * @param names of all layers
 * @throws PenjingError for a glob that matches none of them
 */
export function openReach(
  { match, ignore = DEFAULT_IGNORE, overrides = [] }: StepReach,
  names: readonly string[],
): Reach {
  const known = [...names, ...OUTER];
  const matcher = (glob: string, where: string) => {
    const matches = compileGlob(glob, where);
    if (known.some((name) => matches(name))) return matches;
    throw new PenjingError(
      where,
      `${quote(glob)} matches no layer; names look like ${known[0]}, and * stands for any characters.`,
    );
  };
  const matched = match?.map((glob) => matcher(glob, "match"));
  const ignored = ignore.map((glob) => matcher(glob, "ignore"));
  const changed = overrides.map(({ match: glob, ...changes }) => ({
    matches: matcher(glob, "overrides"),
    changes,
  }));
  return {
    includes: (name) =>
      (matched?.some((matches) => matches(name)) ?? true) &&
      !ignored.some((matches) => matches(name)),
    changes: (name) =>
      Object.assign({}, ...changed.filter((one) => one.matches(name)).map((one) => one.changes)),
  };
}
