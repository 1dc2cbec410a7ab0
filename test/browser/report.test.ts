import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { AxeResults } from "axe-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { report } from "../../src/report.js";
import { folderOf, madeResult } from "../report/results.js";
import { findChromium, launch, NO_CHROMIUM } from "../runtimes/chromium.js";
import { skipUnless } from "../shared.js";

const test = suite("report in Chromium");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "penjing-report-"));
const path = join(folder, "report.html");
let browser: Browser;

test.before(async () => {
  if (findChromium() === undefined) return;
  browser = await launch({ webgpu: false });
  const folders = [5.6, 6.1, 7].map((perplexity, i) =>
    folderOf(madeResult(i === 0 ? 32 : 4, perplexity), `a-result-with-a-long-name-${i}`),
  );
  const points = [{ name: "theirs", bytes: 3e9, perplexity: 6.4, source: "a table" }];
  const { html } = await report({ folders, points });
  writeFileSync(path, html);
});

test.after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Opens the page, and looks that it asks for nothing and that nothing goes wrong. */
async function withPage(
  options: BrowserContextOptions,
  look: (page: Page) => Promise<void>,
): Promise<void> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults: string[] = [];
  const url = pathToFileURL(path).href;
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => faults.push(message.text()));
  page.on("request", (request) => {
    if (request.url() !== url) faults.push(`request of ${request.url()}`);
  });
  await page.goto(url);
  await look(page);
  assert.equal(faults, []);
  await context.close();
}

const VIEWS: Readonly<Record<string, BrowserContextOptions>> = {
  light: { colorScheme: "light", viewport: { width: 1200, height: 900 } },
  dark: { colorScheme: "dark", viewport: { width: 1200, height: 900 } },
  "narrow and dark": { colorScheme: "dark", viewport: { width: 360, height: 740 } },
  narrow: { colorScheme: "light", viewport: { width: 360, height: 740 } },
};

for (const [name, view] of Object.entries(VIEWS)) {
  skipUnless(
    test,
    findChromium() !== undefined,
    NO_CHROMIUM,
    `${name}: axe finds nothing, nothing is asked for, nothing scrolls sideways`,
    async () => {
      // The page's own policy would not let axe in.
      await withPage({ ...view, bypassCSP: true }, async (page) => {
        await page.evaluate(() => {
          for (const details of document.querySelectorAll("details")) details.open = true;
        });
        await page.evaluate(axe);
        const { violations, passes } = await page.evaluate(async () => {
          const { axe } = globalThis as unknown as { axe: { run(): Promise<AxeResults> } };
          return axe.run();
        });
        assert.ok(passes.length > 15, `${passes.length} rules were looked at`);
        assert.equal(
          violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`),
          [],
        );
        const [content, width] = await page.evaluate(() => [
          document.documentElement.scrollWidth,
          innerWidth,
        ]);
        assert.ok(content <= width, `${content} in ${width}`);
      });
    },
  );
}

skipUnless(
  test,
  findChromium() !== undefined,
  NO_CHROMIUM,
  "a press on a column's head sorts by its numbers, a second one the other way round",
  async () => {
    await withPage(VIEWS.light, async (page) => {
      const panel = page.locator("#layer-error .panels > div").nth(1);
      await panel.locator("summary").click();
      const head = panel.locator("th").filter({ hasText: "error" });
      const errors = async () =>
        (await panel.locator("tbody tr td:nth-child(3)").allTextContents()).map(Number);
      const before = await errors();
      const rising = before.toSorted((a, b) => a - b);
      assert.ok(before.length === 28 && String(before) !== String(rising));
      await head.locator("button").click();
      assert.equal(await errors(), rising);
      assert.is(await head.getAttribute("aria-sort"), "ascending");
      await head.locator("button").click();
      assert.equal(await errors(), rising.toReversed());
    });
  },
);

test.run();
