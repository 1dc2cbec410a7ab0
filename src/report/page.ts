import { digestOf } from "../digest.js";
import type { Figure, Panel } from "./figure.js";
import { element, escaped, jsonForScript } from "./markup.js";
import { markDefinitions } from "./plot.js";
import { SCRIPT } from "./script.js";
import { STYLE } from "./style.js";
import { type Table, tableMarkup } from "./table.js";

export interface Page {
  readonly title: string;
  readonly summary: Table;
  readonly figures: readonly Figure[];
  /** What the page shows, for programs. */
  readonly data: object;
  readonly version: string;
}

/** A SHA-256 as content security policies name scripts by. */
async function sourceOf(text: string): Promise<string> {
  const digest = await digestOf(new TextEncoder().encode(text));
  return `'sha256-${btoa(String.fromCharCode(...digest))}'`;
}

/** Lets nothing be loaded, and no script run but the page's own. */
async function policy(): Promise<string> {
  const content = [
    "default-src 'none'",
    "style-src 'unsafe-inline'",
    `script-src ${await sourceOf(SCRIPT)}`,
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return `<meta http-equiv="Content-Security-Policy" content="${content}">`;
}

function paragraph(text: string, kind?: string): string {
  return element("p", { class: kind }, escaped(text));
}

function panelMarkup({ title }: Figure, { result, chart, note, table }: Panel): string {
  const name = result === undefined ? title : `${title}, ${result}`;
  return element(
    "div",
    {},
    result === undefined ? "" : element("h3", {}, escaped(result)),
    chart,
    note === undefined ? "" : paragraph(note, "soft"),
    tableMarkup(name, table),
  );
}

function figureMarkup(figure: Figure, index: number): string {
  const { id, title, caption, missing, panels } = figure;
  const isShown = panels.length > 0;
  return element(
    "section",
    { id },
    element("h2", {}, escaped(`${index + 1}. ${title}`)),
    isShown ? paragraph(caption) : "",
    ...missing.map((sentence) => paragraph(sentence, "soft")),
    isShown
      ? element("div", { class: "panels" }, ...panels.map((one) => panelMarkup(figure, one)))
      : "",
  );
}

/** The whole page in one file that loads nothing. */
export async function pageMarkup(page: Page): Promise<string> {
  const { title, summary, figures, data, version } = page;
  const links = figures.map(({ id, title: name }) => `<li><a href="#${id}">${escaped(name)}</a>`);
  const parts = [
    "<!doctype html>",
    '<html lang="en">',
    "<head>",
    '<meta charset="utf-8">',
    await policy(),
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<link rel="icon" href="data:,">',
    element("title", {}, escaped(title)),
    `<style>${STYLE}</style>`,
    "</head>",
    "<body>",
    markDefinitions(),
    "<main>",
    element("h1", {}, escaped(title)),
    element("section", { id: "summary" }, tableMarkup("Summary", summary)),
    element("nav", { "aria-label": "Figures" }, element("ol", {}, ...links)),
    ...figures.map(figureMarkup),
    "</main>",
    element("footer", {}, paragraph(`Written by penjing ${version}.`)),
    `<script type="application/json" id="data">${jsonForScript(data)}</script>`,
    `<script>${SCRIPT}</script>`,
    "</body>",
    "</html>",
  ];
  return `${parts.join("\n")}\n`;
}
