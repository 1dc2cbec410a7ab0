import { element, escaped } from "./markup.js";
import type { ReportTable } from "./options.js";

export type Table = ReportTable;

/** Stands for what is not known. */
export const NONE = "-";

/** Rows up to which a table is open from the start. */
const FEW_ROWS = 20;

/** Whether all that a column holds are numbers. */
function isNumeric({ rows }: Table, column: number): boolean {
  return rows.every((row) => row[column] === NONE || !Number.isNaN(Number(row[column])));
}

/**
 * The table's markup, to be opened and closed where it is long.
 *
 * @param title what it is called
 */
export function tableMarkup(title: string, table: Table): string {
  const { columns, rows } = table;
  const aligned = columns.map((_, i) => isNumeric(table, i));
  // Without end tags and with classes for the few columns of texts: a long report is mostly cells.
  const cell = (name: string, text: string, i: number) =>
    `<${name}${aligned[i] ? "" : " class=t"}>${escaped(text)}`;
  const head = columns.map((text, i) => cell("th scope=col", text, i)).join("");
  const lines = rows.map((row) => {
    const cells = row.map((text, i) => cell(i === 0 ? "th" : "td", text, i));
    return `<tr>${cells.join("")}`;
  });
  const markup = element(
    "table",
    {},
    element("caption", {}, escaped(title)),
    `<thead><tr>${head}</thead><tbody>${lines.join("")}</tbody>`,
  );
  const scroller = element(
    "div",
    { class: "wide", tabindex: 0, role: "region", "aria-label": title },
    markup,
  );
  return `<details${rows.length <= FEW_ROWS ? " open" : ""}><summary>Table: ${escaped(title)}</summary>${scroller}</details>`;
}
