import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, BrowserContext, Page } from "playwright-core";
import * as assert from "uvu/assert";
import { repositoryRoot } from "../shared.js";

export const MODEL = join(repositoryRoot, "examples", "stories-1m");

export interface Server {
  readonly url: string;
  close(): void;
}

/** Serves the page as `npm run page` does, on a free port. */
export async function servePage(host?: string): Promise<Server> {
  const script = pathToFileURL(join(repositoryRoot, "examples", "browser", "serve.mjs")).href;
  const { serve } = (await import(script)) as {
    serve(port: number, host?: string): Promise<Server>;
  };
  return serve(0, host);
}

/** An open page, and what went wrong in it that nobody was told of. */
export interface Opened {
  readonly page: Page;
  readonly faults: string[];
}

/** Opens the page and waits until it takes a model. */
export async function openPage(browser: Browser | BrowserContext, url: string): Promise<Opened> {
  const context = "newContext" in browser ? await browser.newContext() : browser;
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(message.text());
  });
  await page.goto(url);
  await page.locator("html[data-ready]").waitFor({ state: "attached" });
  return { page, faults };
}

/** Drops a folder of the disk on the page, as a person does. */
export async function dropFolder(page: Page, folder: string): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const box = (await page.locator("#drop").boundingBox())!;
  const data = { items: [], files: [folder], dragOperationsMask: 1 };
  const at = { x: box.x + box.width / 2, y: box.y + 20, data };
  for (const type of ["dragEnter", "dragOver", "drop"] as const) {
    await session.send("Input.dispatchDragEvent", { type, ...at });
  }
  await session.detach();
}

export interface Wanted {
  readonly method?: string;
  readonly sparsity?: string;
  readonly layout?: string;
  readonly samples: number;
  readonly length: number;
  readonly compute?: string;
  /** In place of the folder's own text. */
  readonly evaluation?: string;
}

/** Fills in the form. */
export async function choose(page: Page, wanted: Wanted): Promise<void> {
  await page.locator("#fields:enabled").waitFor();
  await page.locator("details summary").first().click();
  for (const name of ["method", "sparsity", "layout", "compute"] as const) {
    const value = wanted[name];
    if (value !== undefined) await page.locator(`#${name}`).selectOption(value);
  }
  await page.locator("#samples").fill(String(wanted.samples));
  await page.locator("#length").fill(String(wanted.length));
  if (wanted.evaluation !== undefined) await page.locator("#evaluation").fill(wanted.evaluation);
}

/** Waits for the result; an error that the page shows instead is thrown. */
export async function finish(page: Page): Promise<void> {
  const error = page.locator("#error:visible");
  await page.locator("#result:visible").or(error).waitFor();
  if (await error.isVisible()) throw new Error(`The page says: ${await error.textContent()}`);
}

/** A perplexity that the page shows, with all its digits. */
export async function perplexity(page: Page, id: "before" | "after"): Promise<number> {
  const element = page.locator(`#${id}`);
  const value = Number(await element.getAttribute("title"));
  assert.is(await element.textContent(), value.toFixed(2));
  return value;
}

export function near(actual: number, expected: number, tolerance: number, what: string): void {
  const off = Math.abs(actual - expected) / Math.abs(expected);
  assert.ok(off <= tolerance, `${what}: ${actual} is off ${expected} by ${off} relatively`);
}

/** The files of a folder by name. */
export function filesOf(folder: string): Record<string, Uint8Array> {
  const names = readdirSync(folder);
  return Object.fromEntries(
    names.map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]),
  );
}
