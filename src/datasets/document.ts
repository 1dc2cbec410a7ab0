import type { ChatMessage } from "../checkpoint/chat-template.js";
import type { JsonObject } from "../checkpoint/json.js";
import { PenjingError } from "../errors.js";
import { quote } from "../quote.js";

/** A text, or a conversation, which is written out by the model's chat template. */
export type DatasetDocument = string | readonly ChatMessage[];

/** The columns that are looked for where none is named, in order. */
const USUAL = ["text", "messages"] as const;

/** A row of a data file, and what messages call it. */
export interface DatasetRow {
  readonly where: string;
  readonly cells: JsonObject;
}

/** What the readers of rows are given. */
export interface RowOptions {
  readonly gzip: boolean;
  readonly signal: AbortSignal | undefined;
}

/** What the readers of documents are given. */
export interface ReadOptions extends RowOptions {
  readonly column: string | undefined;
}

/**
 * The column to read.
 *
 * @param columns those that there are
 * @throws PenjingError when the one that is wanted is not among them, or none of the usual ones is
 */
export function chooseColumn(
  where: string,
  columns: readonly string[],
  wanted: string | undefined,
): string {
  const found = wanted === undefined ? USUAL.find((name) => columns.includes(name)) : wanted;
  if (found !== undefined && columns.includes(found)) return found;
  const there = columns.length > 0 ? columns.map((name) => quote(name)).join(", ") : "none";
  const missing =
    wanted === undefined ? `no column ${USUAL.join(" or ")}` : `no column ${quote(wanted)}`;
  throw new PenjingError(where, `it has ${missing}; name one of its columns: ${listed(there)}.`);
}

/** Longest list of columns in a message, in characters. */
const LONGEST_LIST = 200;

function listed(names: string): string {
  return names.length <= LONGEST_LIST ? names : `${names.slice(0, LONGEST_LIST)}...`;
}

/**
 * The document that a cell holds; undefined for an empty one.
 *
 * @param where the file and the row
 * @throws PenjingError when it is neither a text nor a conversation
 */
export function documentOf(
  where: string,
  column: string,
  cell: unknown,
): DatasetDocument | undefined {
  if (cell === null || cell === undefined) return undefined;
  if (typeof cell === "string") return cell;
  if (Array.isArray(cell) && cell.length > 0 && cell.every(isMessage)) {
    return cell.map(({ role, content }) => ({ role, content }));
  }
  throw new PenjingError(
    where,
    `${quote(column)} is ${quote(cell)}, must be a text or a list of messages with a role and a content; name another column.`,
  );
}

function isMessage(value: unknown): value is ChatMessage {
  const { role, content } = (value ?? {}) as Partial<Record<keyof ChatMessage, unknown>>;
  return typeof role === "string" && typeof content === "string";
}
