import { PenjingError } from "../errors.js";
import { quote } from "../quote.js";
import { type Restful, withoutRest } from "../run.js";
import { lookalike } from "./foreign.js";

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
export function endOfString(text: string, start: number): number {
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
const POINT = 0x2e;
const MINUS = 0x2d;
const isExponent = (code: number) => code === 0x45 || code === 0x65;
const isDigit = (code: number) => code >= 0x30 && code <= 0x39;
const BACKSLASH = 0x5c;
const isOpening = (code: number) => code === 0x7b || code === 0x5b;
const isClosing = (code: number) => code === 0x7d || code === 0x5d;
/** White space of JSON, of which the codes are at most that of a blank. */
const BLANK = 0x20;

export interface JsonRules {
  /** Refuse whole numbers that are not written as digits alone, such as -0, 8.0 and 1e3. @default false */
  readonly digitsAlone?: boolean | undefined;
}

/** An escape that may be half a surrogate pair. */
const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/;

/**
 * `JSON.parse` that also refuses what other strict readers do: a byte order mark, half a surrogate pair
 * and a key that appears twice in an object, of which `JSON.parse` would silently keep the last; and
 * nesting deeper than `maxDepth`, before any of it is built.
 *
 * @param where the file that messages name
 */
export function parseJson(
  text: string,
  where: string,
  maxDepth: number,
  rules: JsonRules = {},
): unknown {
  return withoutRest(jsonSteps(text, where, maxDepth, rules));
}

/** The same for long texts: it may rest in between. */
export function* jsonSteps(
  text: string,
  where: string,
  maxDepth: number,
  rules: JsonRules = {},
): Restful<unknown> {
  if (text.startsWith("\ufeff")) {
    throw new PenjingError(
      where,
      "it begins with a byte order mark, which JSON has none of; save it as UTF-8 without one.",
    );
  }
  const keys = scan(text, where, maxDepth, rules);
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
  if (SURROGATE_ESCAPE.test(text)) refuseHalves(value, where);
  return value;
}

/** Refuses texts that are not made of whole characters, keys among them. */
function refuseHalves(value: unknown, where: string): void {
  if (typeof value === "string" && /\p{Surrogate}/u.test(value)) {
    throw new PenjingError(
      where,
      `its text ${quote(value)} has half a surrogate pair, which is no character; fetch the file again.`,
    );
  }
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    refuseHalves(key, where);
    refuseHalves(inner, where);
  }
}

/**
 * Holds a text against the rules that `JSON.parse` has not.
 *
 * @returns how many keys stand in it
 */
function scan(text: string, where: string, maxDepth: number, { digitsAlone }: JsonRules): number {
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
    } else if (digitsAlone && code !== COLON) {
      const isOther = isExponent(code) && isDigit(text.charCodeAt(i - 1));
      if (isOther || code === POINT || code === MINUS) refuseSpelling(numberAt(text, i), where);
    }
  }
  return keys;
}

/** Refuses a whole number in a spelling that other readers do not take for one. */
function refuseSpelling(number: string, where: string): void {
  const value = Number(number);
  if (!Number.isInteger(value) || value < 0) return;
  throw new PenjingError(
    where,
    `it has the number ${quote(number)}; sizes and offsets are written as digits alone: fetch it again.`,
  );
}

/** The number around a place, as it is written. */
function numberAt(text: string, at: number): string {
  const before = /[-+\d.eE]*$/.exec(text.slice(Math.max(0, at - 40), at))![0];
  return before + /^[-+\d.eE]*/.exec(text.slice(at, at + 40))![0];
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
