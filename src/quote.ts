/** Longest name or value from outside that a message quotes in full, in UTF-16 code units. */
const QUOTED = 200;

/**
 * What a terminal would act on, or what would hide or reorder the text around it: control characters,
 * line and paragraph separators, marks of direction, halves of surrogate pairs.
 */
const UNPRINTABLE =
  /[\p{Cc}\p{Zl}\p{Zp}\p{Surrogate}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** `\u001b` for ESC: the way in which JSON writes it. */
function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** A text as one line that can be printed anywhere: what a terminal would act on is written out. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escaped);
}

/** The same of a text whose line breaks and tabs are meant. */
export function printableLines(text: string): string {
  return text.replace(UNPRINTABLE, (character) =>
    /[\n\t]/.test(character) ? character : escaped(character),
  );
}

/** A text of at most `most` characters: of a longer one the beginning and the end. */
export function fit(text: string, most: number): string {
  if (text.length <= most) return text;
  const gap = " ... ";
  const end = Math.floor((most - gap.length) / 2);
  return text.slice(0, most - gap.length - end) + gap + text.slice(text.length - end);
}

/** Any value as text, as JSON where that can be written. */
function textOf(value: unknown): string {
  if (typeof value === "number") return String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    // It holds itself, is nested too deep, or holds what JSON has not.
    return `${Array.isArray(value) ? "a list" : "an object"} that cannot be written as JSON`;
  }
}

/** A value from outside for a message: as JSON, in one line; of what is long, the beginning. */
export function quote(value: unknown): string {
  if (typeof value === "string" && value.length > QUOTED) {
    return `${printable(JSON.stringify(value.slice(0, QUOTED)))}...`;
  }
  const text = textOf(value);
  const isCut = typeof value !== "string" && text.length > QUOTED;
  return printable(isCut ? `${text.slice(0, QUOTED)}...` : text);
}
