/** The text of a config.json of which some values change. */
import type { Folder } from "../platform/files.js";
import { endOfString, isJsonObject, MAX_CONFIG_DEPTH, own, parseJson } from "./json.js";
import { MAX_CONFIG_BYTES } from "./opened.js";

export const CONFIG = "config.json";

/** Begins the text that stands for a number as it was written. */
const WRITTEN = "\0";

/**
 * A config.json for another model, indented by two. Numbers that are those of the folder's own config.json
 * are written as they are there: 0.0 and 1e5, which other readers tell from 0 and 100000, and whole numbers
 * beyond 2^53, which JavaScript rounds.
 *
 * @param config what it is to hold
 */
export async function configText(folder: Folder, config: unknown): Promise<string> {
  const text = await folder.readText(CONFIG, MAX_CONFIG_BYTES);
  const before = parseJson(numbersAsTexts(text), `${folder.path}/${CONFIG}`, MAX_CONFIG_DEPTH);
  return `${write(config, before, "\n")}\n`;
}

/** The same JSON with each number in quotes, behind a mark. */
function numbersAsTexts(text: string): string {
  const start = /["\d-]/g;
  const number = /[\d.eE+-]+/y;
  let made = "";
  let done = 0;
  for (let found = start.exec(text); found; found = start.exec(text)) {
    const at = found.index;
    number.lastIndex = at;
    const written = number.exec(text)?.[0];
    const end = written === undefined ? endOfString(text, at) + 1 : number.lastIndex;
    const part = written === undefined ? text.slice(at, end) : JSON.stringify(WRITTEN + written);
    made += text.slice(done, at) + part;
    start.lastIndex = done = end;
  }
  return made + text.slice(done);
}

/**
 * What `JSON.stringify` gives, numbers aside.
 *
 * @param before what stood in the same place, its numbers as texts
 * @param line a line break and the indentation
 */
function write(value: unknown, before: unknown, line: string): string {
  if (typeof value === "number") return spelling(value, before) ?? JSON.stringify(value);
  const inner = `${line}  `;
  if (Array.isArray(value)) {
    const old = Array.isArray(before) ? before : [];
    const items = value.map((item, i) => write(item, old[i], inner));
    return items.length > 0 ? `[${inner}${items.join(`,${inner}`)}${line}]` : "[]";
  }
  if (!isJsonObject(value)) return JSON.stringify(value);
  const old = isJsonObject(before) ? before : {};
  const pairs = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .map(([key, item]) => `${JSON.stringify(key)}: ${write(item, own(old, key), inner)}`);
  return pairs.length > 0 ? `{${inner}${pairs.join(`,${inner}`)}${line}}` : "{}";
}

/** How a number was written, where it stood there before. */
function spelling(value: number, before: unknown): string | undefined {
  if (typeof before !== "string" || !before.startsWith(WRITTEN)) return undefined;
  const text = before.slice(WRITTEN.length);
  return Number(text) === value ? text : undefined;
}
