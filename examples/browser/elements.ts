/** The page's elements by id, and texts for people. */

/** The element of an id in index.html. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no element #${id}.`);
  return element as T;
}

export const input = (id: string) => byId<HTMLInputElement>(id);
export const select = (id: string) => byId<HTMLSelectElement>(id);
export const button = (id: string) => byId<HTMLButtonElement>(id);
export const area = (id: string) => byId<HTMLTextAreaElement>(id);

export function show(id: string, isShown = true): void {
  byId(id).hidden = !isShown;
}

export function say(id: string, text: string): void {
  byId(id).textContent = text;
}

/** A new element with a text. */
export function make(tag: string, text = "", className = ""): HTMLElement {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

/** "1.84 MB" */
export function size(bytes: number): string {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}

/** "1.3 million" */
export function count(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toPrecision(3)} billion`;
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)} million`;
  return value >= 1e4 ? `${Math.round(value / 1e3)} thousand` : String(value);
}

/** "under a second", "8 seconds" or "3 minutes" */
export function duration(seconds: number): string {
  if (seconds < 1) return "under a second";
  if (seconds < 100) return plural(Math.round(seconds), "second");
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? plural(minutes, "minute") : `${(minutes / 60).toFixed(1)} hours`;
}

/** "1 window" or "2 windows" */
export function plural(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}
