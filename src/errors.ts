import { fit, printable, quote } from "./quote.js";

/** Longest message of an error, in UTF-16 code units. */
export const LONGEST_MESSAGE = 500;
/** Characters of it that the place takes at most. */
const LONGEST_PLACE = 200;

/**
 * A mistake that a user can cure: bad input, a bad option, a file that lies. Its message is one
 * sentence that says where, what, the rule and the cure; nothing prints its stack unless asked to. It
 * is one line of at most `LONGEST_MESSAGE` characters, whatever names from files are in it.
 */
export class PenjingError extends Error {
  override readonly name = "PenjingError";
  /** The file, tensor, layer or option that the message is about. */
  readonly where: string;

  /** The message without the place. */
  readonly bare: string;

  /**
   * @param where the file, tensor, layer or option, printed in brackets before the message
   * @param message what was found, the rule it breaks, and the cure; options that it names stand in
   *   backticks, as in `force` or `backend: wasm`, which the command line prints as its flags
   */
  constructor(where: string, message: string, options?: ErrorOptions) {
    const place = `[${fit(printable(where), LONGEST_PLACE)}] `;
    const bare = fit(printable(message), LONGEST_MESSAGE - place.length);
    super(place + bare, options);
    this.where = where;
    this.bare = bare;
  }
}

/**
 * A GPU that is missing, unfit or cannot go on: lost, out of memory, over its limits, or unable to
 * compile a shader. The input is not at fault, and another backend can do the same work.
 */
export class DeviceError extends PenjingError {
  constructor(message: string, options?: ErrorOptions) {
    super("webgpu", message, options);
  }
}

/**
 * The error of a GPU that gives values which are NaN or infinite. A damaged model has them too; wasm
 * tells the two apart.
 *
 * @param what the values, as in "activations"
 */
export function gpuGaveNonFinite(what: string): DeviceError {
  return new DeviceError(
    `the GPU gave ${what} that are NaN or infinite; use \`backend: wasm\`, which tells why.`,
  );
}

/** The edit distance of two short words, used to propose the nearest valid name. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}

/** Comparisons of two characters that a proposal is worth: some tens of milliseconds. */
const MOST_COMPARISONS = 10_000_000;

/** The valid name nearest to `name`, or undefined when none is close or there is too much to compare. */
export function nearest(name: string, valid: readonly string[]): string | undefined {
  const letters = valid.reduce((sum, candidate) => sum + candidate.length, 0);
  if (name.length * letters > MOST_COMPARISONS) return undefined;
  const ranked = valid
    .map((candidate) => {
      const [given, wanted] = [name.toLowerCase(), candidate.toLowerCase()];
      // A name cut short is near, however much is missing.
      const isPrefix = given.length > 1 && wanted.startsWith(given);
      return { candidate, d: isPrefix ? 1 : distance(given, wanted) };
    })
    .sort((x, y) => x.d - y.d);
  const best = ranked[0];
  return best && best.d <= Math.max(2, name.length / 2) ? best.candidate : undefined;
}

/** Refuses any key of `object` that is not in `valid`, naming the nearest valid one. */
export function refuseUnknownKeys(where: string, object: object, valid: readonly string[]): void {
  for (const key of Object.keys(object)) {
    if (valid.includes(key)) continue;
    const near = nearest(key, valid);
    throw new PenjingError(
      where,
      `${quote(key)} is not an option here${near ? `; did you mean "${near}"?` : "."} Valid: ${valid.join(", ")}.`,
    );
  }
}

/** The entry of `registry` called `name`, or an error that lists the names and the nearest one. */
export function lookUp<T>(registry: Readonly<Record<string, T>>, name: string, where: string): T {
  if (Object.hasOwn(registry, name)) return registry[name];
  const valid = Object.keys(registry);
  const near = nearest(name, valid);
  throw new PenjingError(
    where,
    `"${name}" is not known${near ? `; did you mean "${near}"?` : "."} Valid: ${valid.join(", ")}.`,
  );
}
