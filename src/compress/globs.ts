import picomatch from "picomatch";
import { PenjingError } from "../errors.js";
import { outerTensors } from "../model.js";
import { quote } from "../quote.js";
import type { StepReach } from "./transform.js";

/** Longest glob, in UTF-16 code units: names of layers are shorter. */
const LONGEST_GLOB = 1000;

const { head, embedding } = outerTensors({});
const OUTER = [head, embedding].map((name) => name.replace(/\.weight$/, ""));

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
 * @param rest called after each glob, to let timers run
 * @throws PenjingError for a glob that matches none of them
 */
export async function openReach(
  { match, ignore = DEFAULT_IGNORE, overrides = [] }: StepReach,
  names: readonly string[],
  rest: () => Promise<void>,
): Promise<Reach> {
  const known = [...names, ...OUTER];
  const matcher = async (glob: string, where: string) => {
    await rest();
    const matches = compileGlob(glob, where);
    if (known.some((name) => matches(name))) return matches;
    throw new PenjingError(
      where,
      `${quote(glob)} matches no layer; names look like ${known[0]}, and * stands for any characters.`,
    );
  };
  const matchers = async (globs: readonly string[], where: string) => {
    const made: Awaited<ReturnType<typeof matcher>>[] = [];
    for (const glob of globs) made.push(await matcher(glob, where));
    return made;
  };
  const matched = match && (await matchers(match, "match"));
  const ignored = await matchers(ignore, "ignore");
  const overridden = overrides.map(({ match: glob }) => glob);
  const matches = await matchers(overridden, "overrides");
  const changed = overrides.map(({ match: _, ...changes }, i) => ({
    matches: matches[i],
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
