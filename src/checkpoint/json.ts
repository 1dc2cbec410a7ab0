import { PenjingError } from "../errors.js";

/** The longest piece of a file that a message quotes. */
const QUOTED = 40;

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

/** A value from a file, quoted and cut short for a message. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > QUOTED ? `${text.slice(0, QUOTED)}...` : text;
}

/** Index of the quote that closes the string that opens at `start`, or `text.length`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return Math.min(i, text.length);
}

/**
 * `JSON.parse` that also refuses nesting deeper than `maxDepth`, before any of it is built, and a
 * key that appears twice in an object, of which `JSON.parse` would silently keep the last.
 *
 * @param where the file that messages name
 */
export function parseJson(text: string, where: string, maxDepth: number): unknown {
  // One set of keys per open object, undefined per open array.
  const open: (Set<string> | undefined)[] = [];
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case "{":
      case "[":
        open.push(text[i] === "{" ? new Set() : undefined);
        if (open.length > maxDepth) {
          throw new PenjingError(
            where,
            `its JSON is nested deeper than the ${maxDepth} levels accepted here; it is not a file of the expected kind.`,
          );
        }
        break;
      case "}":
      case "]":
        open.pop();
        break;
      case '"': {
        const end = endOfString(text, i);
        let next = end + 1;
        while (next < text.length && /\s/.test(text[next])) next++;
        const keys = open[open.length - 1];
        if (keys && text[next] === ":") {
          const raw = text.slice(i, end + 1);
          const key = raw.includes("\\") ? decodeKey(raw) : raw.slice(1, -1);
          if (keys.has(key)) {
            throw new PenjingError(
              where,
              `the key ${quote(key)} appears twice in one JSON object, so its meaning is unclear; write the file again.`,
            );
          }
          keys.add(key);
        }
        i = end;
        break;
      }
    }
  }
  try {
    return JSON.parse(text);
  } catch (error) {
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
