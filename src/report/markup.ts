/** Elements of HTML and SVG as text, in which nothing from outside is markup. */
import { printable } from "../quote.js";

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** A text for an element or an attribute's value. */
export function escaped(text: string): string {
  return printable(text).replace(/[&<>"']/g, (character) => ENTITIES[character]);
}

/** A value as JSON for a script element, which no text in it can end. */
export function jsonForScript(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll("<", "\\u003c")
    .replace(/[\u2028\u2029]/g, (separator) => (separator === "\u2028" ? "\\u2028" : "\\u2029"));
}

export type Attributes = Readonly<Record<string, string | number | undefined>>;

function attribute(name: string, value: string | number): string {
  // A pixel is no smaller in print.
  const text = typeof value === "number" ? String(Math.round(10 * value) / 10) : escaped(value);
  return /^[\w.#-]+$/.test(text) ? ` ${name}=${text}` : ` ${name}="${text}"`;
}

/**
 * An element.
 *
 * @param attributes numbers are rounded to tenths; those that are undefined are left out
 * @param content markup
 */
export function element(name: string, attributes: Attributes, ...content: string[]): string {
  const list = Object.entries(attributes).map(([key, value]) =>
    value === undefined ? "" : attribute(key, value),
  );
  return `<${name}${list.join("")}>${content.join("")}</${name}>`;
}

/** A text that browsers show where the pointer rests. */
export function tooltip(text: string): string {
  return element("title", {}, escaped(text));
}
