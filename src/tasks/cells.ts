/** Reading the cells of a task's rows. */
import { isJsonObject } from "../checkpoint/json.js";
import type { DatasetRow } from "../datasets/document.js";
import { PenjingError } from "../errors.js";
import { quote } from "../quote.js";
import type { TaskItem } from "./task.js";

/** @throws PenjingError saying what a column must hold */
export function refuseCell(
  { where }: DatasetRow,
  column: string,
  value: unknown,
  rule: string,
): never {
  const is = value === undefined ? "is missing" : `is ${quote(value)}`;
  throw new PenjingError(
    where,
    `${quote(column)} ${is}, must be ${rule}; take the task's own file.`,
  );
}

/** @throws PenjingError */
export function refuseLoneChoice({ where }: DatasetRow): never {
  throw new PenjingError(
    where,
    "it has one choice, and there is none to be made; leave the row out.",
  );
}

/** The text in a column. */
export function textIn(row: DatasetRow, column: string): string {
  const value = Object.hasOwn(row.cells, column) ? row.cells[column] : undefined;
  return typeof value === "string" ? value : refuseCell(row, column, value, "a text");
}

/** Texts in a column. */
export function textsIn(row: DatasetRow, column: string, value: unknown): string[] {
  const isFine =
    Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string");
  return isFine ? (value as string[]) : refuseCell(row, column, value, "a list of texts");
}

/** An object in a column. */
export function objectIn(row: DatasetRow, column: string): Record<string, unknown> {
  const value = Object.hasOwn(row.cells, column) ? row.cells[column] : undefined;
  return isJsonObject(value) ? value : refuseCell(row, column, value, "an object");
}

/**
 * An item whose right choice is at a place.
 *
 * @param value what the place was read from, for messages
 * @throws PenjingError when there is no such choice
 */
export function itemOf(row: DatasetRow, column: string, value: unknown, item: TaskItem): TaskItem {
  const { choices, gold } = item;
  if (choices.length < 2) refuseLoneChoice(row);
  if (Number.isInteger(gold) && gold >= 0 && gold < choices.length) return item;
  return refuseCell(row, column, value, `the right one of the ${choices.length} choices`);
}
