import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unzipSync } from "fflate";
import type { Browser } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress, evaluatePerplexity, generate, inspect, report } from "../../src/index.js";
import { findChromium, launch, NO_CHROMIUM } from "../runtimes/chromium.js";
import { note, skipUnless } from "../shared.js";
import {
  choose,
  dropFolder,
  filesOf,
  finish,
  MODEL,
  near,
  openPage,
  perplexity,
  type Server,
  servePage,
} from "./page.js";

const test = suite("page");
const SAMPLES = { samples: 4, length: 64 };
const PROMPT = "Once upon a time, there was a little";
const hasChromium = findChromium() !== undefined;

let server: Server;
let browser: Browser;
let folder = "";

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), "penjing-page-"));
  if (!hasChromium) return;
  server = await servePage();
  browser = await launch();
});

test.after(async () => {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

function browserTest(name: string, run: () => Promise<void>): void {
  skipUnless(test, hasChromium, NO_CHROMIUM, name, run);
}

/** What the page calls the same bytes on every machine. */
const EXACT = { backend: "wasm", simd: "baseline" } as const;

/** The same compression by Node, on disk. */
async function byNode(out: string, recipe: object): Promise<void> {
  const calibration = readFileSync(join(MODEL, "calibration.txt"), "utf8");
  await compress({ model: MODEL, out, calibration, recipe, ...EXACT }).result();
}

browserTest("a dropped folder is compressed, measured, told from and downloaded", async () => {
  const { page, faults } = await openPage(browser, server.url);
  await dropFolder(page, MODEL);
  await page.locator("#facts dd").first().waitFor();
  assert.is(await page.locator("#facts dd").first().textContent(), "stories-1m");
  const wanted = { ...SAMPLES, method: "sparsegpt", sparsity: "2:4", layout: "two-four" };
  await choose(page, { ...wanted, compute: "exact" });
  assert.is(
    await page.locator("#evaluation").inputValue(),
    readFileSync(join(MODEL, "evaluation.txt"), "utf8"),
  );
  const text = readFileSync(join(MODEL, "evaluation.txt"), "utf8").slice(0, 10_000);
  await page.locator("#evaluation").fill(text);

  // Every value that the bar takes, by the stage it belongs to.
  await page.evaluate(() => {
    const seen: Record<string, number[]> = {};
    Object.assign(globalThis, { seen });
    const bar = document.querySelector("progress")!;
    new MutationObserver(() => {
      const stage = document.querySelector("[aria-current]")?.getAttribute("data-stage") ?? "";
      seen[stage] ??= [];
      seen[stage].push(bar.value);
    }).observe(bar, { attributes: true });
  });
  await page.locator("#start").click();
  await finish(page);
  const seen = await page.evaluate(
    () => (globalThis as unknown as { seen: Record<string, number[]> }).seen,
  );
  for (const stage of ["before", "prune", "after"]) {
    const values = new Set(seen[stage]);
    assert.ok(values.size > 5, `the bar took ${values.size} values during ${stage}`);
    assert.is(Math.max(...values), 1);
  }
  assert.match(
    (await page.locator("#compute-text").textContent()) ?? "",
    /^Runs on WebAssembly: .+\.$/,
  );
  assert.is(await page.locator("#layers tr").count(), 28);

  const own = join(folder, "own");
  await byNode(own, { ...wanted });
  const measure = (model: string, against?: string) =>
    evaluatePerplexity({ model, against, text, ...EXACT }).result();
  const [before, after] = [await measure(MODEL), await measure(own, MODEL)];
  near(await perplexity(page, "before"), before.perplexity, 1e-3, "perplexity before");
  near(await perplexity(page, "after"), after.perplexity, 1e-3, "perplexity after");
  for (const [id, value, shown] of [
    ["kl", after.against!.kl, /^0\.\d{3}$/],
    ["agreement", after.against!.agreement, /^\d\d\.\d%$/],
  ] as const) {
    const element = page.locator(`#${id}`);
    near(Number(await element.getAttribute("title")), value, 1e-3, id);
    assert.match((await element.textContent()) ?? "", shown);
  }
  assert.match((await page.locator("#layer-bytes").textContent()) ?? "", /; 9\.00 bits a weight/);

  await page.locator("#prompt").fill(PROMPT);
  await page.locator("#temperature").fill("0");
  await page.locator("#tokens").fill("24");
  await page.locator("#which").selectOption("both");
  await page.locator("#prompt").press("Enter");
  await page.locator("#log small").nth(1).getByText("per second").waitFor();
  for (const [which, model] of [
    ["compressed", own],
    ["original", MODEL],
  ]) {
    const told = await page.locator(`.told[data-which=${which}]`).textContent();
    const expected = await generate({ model, prompt: PROMPT, maxNewTokens: 24 }).result();
    assert.is(PROMPT + told, expected.text);
  }

  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.locator("#download").click(),
  ]);
  assert.is(download.suggestedFilename(), "stories-1m-sparsegpt-2-4.zip");
  const zip = join(folder, "result.zip");
  await download.saveAs(zip);
  const unpacked = unzipSync(new Uint8Array(readFileSync(zip)));
  const expected = filesOf(own);
  const top = "stories-1m-sparsegpt-2-4";
  assert.equal(
    Object.keys(unpacked).sort(),
    Object.keys(expected)
      .map((name) => `${top}/${name}`)
      .sort(),
  );
  for (const [name, bytes] of Object.entries(expected)) {
    // The report holds the times of its run.
    if (name === "penjing-report.json") continue;
    const same = Buffer.compare(unpacked[`${top}/${name}`], bytes) === 0;
    assert.ok(same, `${name} of the page differs from Node's`);
  }
  mkdirSync(join(folder, top));
  for (const [name, bytes] of Object.entries(unpacked)) writeFileSync(join(folder, name), bytes);
  const { layout } = await inspect(join(folder, top)).result();
  assert.is(layout, "two-four");
  assert.is((await measure(join(folder, top))).perplexity, after.perplexity);

  // The figures are those of the report that the command makes of what was downloaded.
  await page.locator("#report-figures summary").click();
  const frame = page.frameLocator("#report");
  assert.is(await frame.locator("h1").textContent(), `Compression report: ${top}`);
  assert.is(await frame.locator("section svg, figure svg").first().isVisible(), true);
  const [made] = await Promise.all([
    page.waitForEvent("download"),
    page.locator("#download-report").click(),
  ]);
  assert.is(made.suggestedFilename(), `${top}-report.html`);
  await made.saveAs(join(folder, "report.html"));
  const { html } = await report({ folders: [join(folder, top)] });
  assert.is(readFileSync(join(folder, "report.html"), "utf8"), html);
  assert.match(html, after.perplexity.toFixed(3));
  assert.equal(faults, []);
  await page.context().close();
});

browserTest("a run is cancelled, and the next one succeeds", async () => {
  const { page, faults } = await openPage(browser, server.url);
  await page.locator("#folder").setInputFiles(MODEL);
  await choose(page, { method: "armor", samples: 64, length: 256, evaluation: "" });
  await page.locator("#start").click();
  await page.locator("#doing").getByText("block 1 of 4").waitFor();
  const started = performance.now();
  await page.locator("#cancel").click();
  await page.locator("#work").waitFor({ state: "hidden" });
  note(`cancelled after ${Math.round(performance.now() - started)} ms`);
  assert.is(await page.locator("#error").isVisible(), false);
  assert.is(await page.locator("#result").isVisible(), false);
  const left = await page.evaluate(async () => {
    const names: string[] = [];
    for await (const [name, handle] of (await navigator.storage.getDirectory()).entries()) {
      names.push(name);
      if (handle.kind !== "directory") continue;
      for await (const inner of (handle as FileSystemDirectoryHandle).keys()) names.push(inner);
    }
    return names;
  });
  assert.is(left.length, 1, `in the site's storage: ${left}`);

  await page.locator("#method").selectOption("wanda");
  await page.locator("#samples").fill("2");
  await page.locator("#start").click();
  await finish(page);
  assert.is(await page.locator("#perplexity-figure").isVisible(), false);
  assert.equal(faults, []);
  await page.context().close();
});

browserTest("what cannot be done is said in one sentence", async () => {
  const { page, faults } = await openPage(browser, server.url);
  const empty = join(folder, "not-a-model");
  mkdirSync(empty);
  writeFileSync(join(empty, "notes.txt"), "nothing of a model");
  const error = page.locator("#error");
  await dropFolder(page, empty);
  await error.waitFor();
  assert.match(
    (await error.textContent()) ?? "",
    /^not-a-model: the folder has neither model\.safetensors nor .+ \(it holds notes\.txt\); [^.]+\.$/,
  );
  assert.is(await page.locator("#fields:disabled").count(), 1);

  const broken = join(folder, "broken");
  mkdirSync(broken);
  for (const [name, bytes] of Object.entries(filesOf(MODEL))) {
    writeFileSync(join(broken, name), name === "model.safetensors" ? bytes.slice(0, 9999) : bytes);
  }
  await page.locator("#folder").setInputFiles(broken);
  await error.getByText("broken").waitFor();
  assert.match((await error.textContent()) ?? "", /^broken\/model\.safetensors: .+\.$/);

  await page.locator("#try").click();
  await choose(page, { samples: 2, length: 32 });
  assert.is(await error.isVisible(), false);
  await page.locator("#calibration").fill("");
  await page.locator("#start").click();
  await error.getByText("no text to calibrate on").waitFor();
  await page.locator("#calibration").fill("too short");
  await page.locator("#start").click();
  await error.getByText("Text to calibrate on:").waitFor();
  assert.match(
    (await error.textContent()) ?? "",
    /a smaller “Tokens in each calibration window”\.$/,
  );
  assert.equal(faults, []);
  await page.context().close();
});

browserTest("WebGPU gives the same perplexities, and the page says that it is used", async () => {
  const { page, faults } = await openPage(browser, server.url);
  const evaluation = readFileSync(join(MODEL, "evaluation.txt"), "utf8").slice(0, 900);
  await page.locator("#try").click();
  const wanted = { method: "wanda", sparsity: "2:4", samples: 2, length: 64 };
  await choose(page, { ...wanted, evaluation, compute: "webgpu" });
  await page.locator("#start").click();
  await finish(page);
  assert.is(await page.locator("#compute-text").textContent(), "Runs on WebGPU: you chose it.");
  const own = join(folder, "own-wanda");
  await byNode(own, wanted);
  for (const [id, model] of [
    ["before", MODEL],
    ["after", own],
  ] as const) {
    const { perplexity: expected } = await evaluatePerplexity({ model, text: evaluation }).result();
    near(await perplexity(page, id), expected, 1e-3, `perplexity ${id} on WebGPU`);
  }
  assert.equal(faults, []);
  await page.context().close();
});

browserTest("without WebGPU and without storage the work is done all the same", async () => {
  const context = await browser.newContext();
  await context.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const lacking = ["gpu", "storage"].map(
      (name) => `Object.defineProperty(navigator, "${name}", { value: undefined });\n`,
    );
    await route.fulfill({ response, body: lacking.join("") + (await response.text()) });
  });
  const { page, faults } = await openPage(context, server.url);
  assert.is(
    await page.locator("#compute-text").textContent(),
    "Runs on WebAssembly: this browser has no WebGPU.",
  );
  assert.match((await page.locator("#storage").textContent()) ?? "", /results wait in memory/);
  await page.locator("#try").click();
  await choose(page, { method: "magnitude", samples: 2, length: 32, evaluation: "" });
  await page.locator("#start").click();
  await finish(page);
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.locator("#download").click(),
  ]);
  const zip = unzipSync(new Uint8Array(readFileSync(await download.path())));
  assert.ok("stories-1m-magnitude-2-4/model.safetensors" in zip);
  assert.equal(faults, []);
  await context.close();
});

test.run();
