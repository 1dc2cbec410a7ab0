import { PenjingError } from "../errors.js";
import { quote } from "../quote.js";
import { type Restful, withoutRest } from "../run.js";
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

const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const isOpening = (code: number) => code === 0x7b || code === 0x5b;
const isClosing = (code: number) => code === 0x7d || code === 0x5d;
/** White space of JSON, of which the codes are at most that of a blank. */
const BLANK = 0x20;

/**
 * `JSON.parse` that also refuses nesting deeper than `maxDepth`, before any of it is built, and a
 * key that appears twice in an object, of which `JSON.parse` would silently keep the last.
 *
 * @param where the file that messages name
 */
export function parseJson(text: string, where: string, maxDepth: number): unknown {
  return withoutRest(jsonSteps(text, where, maxDepth));
}

/** The same for long texts: it may rest in between. */
export function* jsonSteps(text: string, where: string, maxDepth: number): Restful<unknown> {
  const keys = countKeys(text, where, maxDepth);
  yield;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const explanation = lookalike(text.slice(0, 40));
    if (explanation) throw new PenjingError(where, explanation, { cause: error });
    const reason = (error as Error).message;
    throw new PenjingError(where, `its JSON cannot be read (${reason}); fetch the file again.`, {
      cause: error,
    });
  }
  yield;
  if (keysOf(value) !== keys) refuseRepeatedKey(text, where);
  return value;
}

/** Keys that stand in a JSON text. */
function countKeys(text: string, where: string, maxDepth: number): number {
  let keys = 0;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      i = endOfString(text, i);
      let next = i + 1;
      while (text.charCodeAt(next) <= BLANK) next++;
      if (text.charCodeAt(next) === COLON) keys++;
    } else if (isOpening(code)) {
      if (++depth > maxDepth) {
        throw new PenjingError(
          where,
          `its JSON is nested deeper than the ${maxDepth} levels accepted here; it is not a file of the expected kind.`,
        );
      }
    } else if (isClosing(code)) {
      depth--;
    }
  }
  return keys;
}

/** Keys of a value and of all within it. */
function keysOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  if (Array.isArray(value)) {
    let keys = 0;
    for (let i = 0; i < value.length; i++) {
      if (typeof value[i] === "object") keys += keysOf(value[i]);
    }
    return keys;
  }
  // Of objects with many keys, `Object.values` takes three times as long as this.
  const names = Object.keys(value);
  let keys = names.length;
  for (const name of names) keys += keysOf((value as JsonObject)[name]);
  return keys;
}

/** Names the first key that appears twice in one object. */
function refuseRepeatedKey(text: string, where: string): void {
  // One set of keys per open object, undefined per open array.
  const open: (Set<string> | undefined)[] = [];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (isOpening(code)) open.push(text[i] === "{" ? new Set() : undefined);
    else if (isClosing(code)) open.pop();
    if (code !== QUOTE) continue;
    const end = endOfString(text, i);
    let next = end + 1;
    while (text.charCodeAt(next) <= BLANK) next++;
    const keys = open[open.length - 1];
    if (keys && text.charCodeAt(next) === COLON) {
      const key = JSON.parse(text.slice(i, end + 1)) as string;
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
