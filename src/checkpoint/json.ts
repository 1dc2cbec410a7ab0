import { PenjingError } from "../errors.js";
import { quote } from "../quote.js";
import { lookalike } from "./foreign.js";

export { quote };

/** Nesting accepted in configuration files; real ones stay below 10. */
export const MAX_CONFIG_DEPTH = 64;

/** A JSON object as `JSON.parse` makes it; look only at its own keys. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value under an own key, so that a name such as `constructor` finds nothing inherited. */
export function own(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** The characters that JSON's structure is made of, as codes. */
const [QUOTE, BACKSLASH, COLON] = [0x22, 0x5c, 0x3a];
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST] = [0x7b, 0x7d, 0x5b, 0x5d];

/** Index of the quote that closes the string that opens at `start`, or `text.length`. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let first = end;
    while (text.charCodeAt(first - 1) === BACKSLASH) first--;
    // An even number of backslashes escape one another and not the quote.
    if ((end - first) % 2 === 0) return end;
  }
  return text.length;
}

/**
 * `JSON.parse` that also refuses nesting deeper than `maxDepth`, before any of it is built, and a
 * key that appears twice in an object, of which `JSON.parse` would silently keep the last.
 *
 * @param where the file that messages name
 */
export function parseJson(text: string, where: string, maxDepth: number): unknown {
  // The keys of the open object at each depth, whose set serves the next object there too.
  const sets: Set<string>[] = [];
  const isObject: boolean[] = [];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === OPEN_OBJECT || code === OPEN_LIST) {
      const depth = isObject.push(code === OPEN_OBJECT);
      if (depth > maxDepth) {
        throw new PenjingError(
          where,
          `its JSON is nested deeper than the ${maxDepth} levels accepted here; it is not a file of the expected kind.`,
        );
      }
      if (sets.length < depth) sets.push(new Set());
      else sets[depth - 1].clear();
    } else if (code === CLOSE_OBJECT || code === CLOSE_LIST) {
      isObject.pop();
    } else if (code === QUOTE) {
      const end = endOfString(text, i);
      let next = end + 1;
      while (text.charCodeAt(next) <= 0x20) next++;
      if (isObject[isObject.length - 1] && text.charCodeAt(next) === COLON) {
        const keys = sets[isObject.length - 1];
        const raw = text.slice(i + 1, end);
        const key = raw.includes("\\") ? decodeKey(`"${raw}"`) : raw;
        if (keys.has(key)) {
          throw new PenjingError(
            where,
            `the key ${quote(key)} appears twice in one JSON object, so its meaning is unclear; write the file again.`,
          );
        }
        keys.add(key);
      }
      i = end;
    }
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const explanation = lookalike(text.slice(0, 40));
    if (explanation) throw new PenjingError(where, explanation, { cause: error });
    const reason = (error as Error).message;
    throw new PenjingError(where, `its JSON cannot be read (${reason}); fetch the file again.`, {
      cause: error,
    });
  }
}

/** The key behind an escaped literal; a malformed one stands for itself, and the parse reports it. */
function decodeKey(raw: string): string {
  try {
    return JSON.parse(raw) as string;
  } catch {
    return raw;
  }
}
