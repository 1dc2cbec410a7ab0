// Quantized on the page, and downloaded as GGUF.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unzipSync } from "fflate";
import type { Browser, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress, exportModel } from "../../src/index.js";
import { byteTokenizer, tinyWith } from "../export/gguf/exported.js";
import { findChromium, launch, NO_CHROMIUM } from "../runtimes/chromium.js";
import { skipUnless } from "../shared.js";
import { choose, finish, MODEL, openPage, type Server, servePage } from "./page.js";

const test = suite("page: quantized, and as GGUF");
const hasChromium = findChromium() !== undefined;

let server: Server;
let browser: Browser;
let page: Page;
let faults: string[];
let folder = "";

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), "penjing-page-"));
  if (!hasChromium) return;
  server = await servePage();
  browser = await launch({ webgpu: false });
});

test.after(async () => {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

test.before.each(async () => {
  if (hasChromium) ({ page, faults } = await openPage(browser, server.url));
});

test.after.each(async () => {
  if (!hasChromium) return;
  assert.equal(faults, []);
  await page.context().close();
});

function browserTest(name: string, run: () => Promise<void>): void {
  skipUnless(test, hasChromium, NO_CHROMIUM, name, run);
}

/** What a button gives to download, and its name. */
async function downloaded(id: string): Promise<readonly [string, Uint8Array]> {
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.locator(`#${id}`).click(),
  ]);
  const bytes = new Uint8Array(readFileSync(await download.path()));
  return [download.suggestedFilename(), bytes];
}

const text = async (selector: string) => (await page.locator(selector).textContent()) ?? "";

browserTest("a model is quantized with its own options, and its file is that of Node", async () => {
  await page.locator("#try").click();
  await choose(page, {
    method: "gptq",
    sparsity: "int4",
    samples: 2,
    length: 32,
    compute: "exact",
  });
  assert.is(await text("#sparsity-label"), "Bits");
  assert.is(await page.locator("#layout").inputValue(), "grouped-int");
  assert.is(await page.locator("#group-size").inputValue(), "32");
  assert.is(await page.locator("#bits").count(), 0);
  await page.locator("#refine").fill("1");
  await page.locator("#symmetric").uncheck();
  await page
    .locator("#evaluation")
    .fill(readFileSync(join(MODEL, "evaluation.txt"), "utf8").slice(0, 2000));
  await page.locator("#start").click();
  await finish(page);
  assert.match(await text("#layer-bytes"), /^28 layers, quantized in /);
  assert.match(await text("#layers tr:first-child"), /4\.63 bits/);

  const own = join(folder, "stories-1m-gptq-int4");
  const calibration = readFileSync(join(MODEL, "calibration.txt"), "utf8");
  const quantize = { method: "gptq", bits: 4, refine: 1, symmetric: false };
  const recipe = { version: 2, samples: 2, length: 32, steps: [{ quantize }] } as const;
  const exact = { backend: "wasm", simd: "baseline" } as const;
  await compress({ model: MODEL, out: own, calibration, recipe, ...exact }).result();
  const [, zip] = await downloaded("download");
  const weights = unzipSync(zip)["stories-1m-gptq-int4/model.safetensors"];
  assert.is(Buffer.compare(weights, readFileSync(join(own, "model.safetensors"))), 0);

  const [name, bytes] = await downloaded("download-gguf");
  assert.is(name, "stories-1m-gptq-int4.gguf");
  const out = join(folder, "own.gguf");
  await exportModel({ model: own, out, layout: "gguf" }).result();
  assert.is(Buffer.compare(bytes, readFileSync(out)), 0);
  assert.match(await text("#download-text"), /int4\.gguf, \d+/);
});

browserTest("pruners come back with their sparsities and layouts", async () => {
  await page.locator("#try").click();
  await page.locator("#fields:enabled").waitFor();
  const choices = (id: string) =>
    page
      .locator(`#${id} option:enabled`)
      .evaluateAll((all) => all.map((one) => (one as HTMLOptionElement).value));
  await page.locator("#method").selectOption("rtn");
  assert.equal(await choices("sparsity"), ["int4", "int5", "int8"]);
  assert.equal(await choices("layout"), ["grouped-int", "dense"]);
  await page.locator("#sparsity").selectOption("int8");
  await page.locator("#method").selectOption("wanda");
  assert.is(await text("#sparsity-label"), "Sparsity");
  assert.is(await page.locator("#sparsity").inputValue(), "2:4");
  assert.is(await page.locator("#layout").inputValue(), "two-four");
  assert.equal(await choices("layout"), ["two-four", "sparse-bitmask", "dense"]);
});

browserTest("a family that GGUF files have no architecture for is said to be one", async () => {
  const path = join(folder, "opt");
  mkdirSync(path);
  for (const [name, bytes] of Object.entries(tinyWith("opt", {}, byteTokenizer()))) {
    writeFileSync(join(path, name), bytes);
  }
  await page.locator("#folder").setInputFiles(path);
  await choose(page, { method: "magnitude", sparsity: "50%", samples: 2, length: 8 });
  await page.locator("#start").click();
  await finish(page);
  await page.locator("#download-gguf").click();
  await page
    .locator("#error")
    .getByText(/of the family opt, for which there is no GGUF/)
    .waitFor();
  assert.ok(await page.locator("#download-gguf").isEnabled());
});

test.run();
