// Chromium reads models from a fake hub: the library's portable build, and the page.
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { COMMIT, type FakeHub, TOKEN, tagOf } from "../hub/fake-hub.js";
import { startHub, storyFiles } from "../hub/models.js";
import {
  findChromium,
  launch,
  NO_CHROMIUM,
  type StaticServer,
  serve,
} from "../runtimes/chromium.js";
import { ran, repositoryRoot, skipUnless } from "../shared.js";
import { choose, finish, openPage, type Server, servePage } from "./page.js";

const test = suite("hub in Chromium");
const hasChromium = findChromium() !== undefined;
const stories = storyFiles();
const WEIGHTS = "model.safetensors";

let hub: FakeHub;
let library: StaticServer;
let site: Server;
let browser: Browser;

test.before(async () => {
  if (!hasChromium) return;
  hub = await startHub();
  hub.add({ id: "org/gated", gated: true, files: stories });
  library = await serve(join(repositoryRoot, "build", "portable"));
  site = await servePage();
  browser = await launch({ webgpu: false });
});
test.before.each(() => hub?.reset());
test.after(async () => {
  await browser?.close();
  await library?.close();
  site?.close();
  await hub?.close();
});

function browserTest(name: string, run: () => Promise<void>): void {
  skipUnless(test, hasChromium, NO_CHROMIUM, name, run);
}

type Library = typeof import("../../src/index.js");

/** What runs in the browser. */
async function inBrowser([endpoint, token]: readonly [string, string]) {
  const url = "/index.js";
  const lib: Library = await import(url);
  const sentence = (work: Promise<unknown>) =>
    work.then(
      () => "nothing was refused",
      (error: Error) => `${error.name}: ${error.message}`,
    );
  const hub = { endpoint };
  const checkpoint = await lib.openCheckpoint("org/stories", { hub });
  const source = await checkpoint.folder.open("model.safetensors");
  const bytes = await source.read(0, source.size);
  const hash = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  const asked = { model: checkpoint, prompt: "Once", maxNewTokens: 4 };
  const { text } = await lib.generate(asked).result();
  return {
    path: checkpoint.folder.path,
    sum: Array.from(new Uint8Array(hash), (b) => b.toString(16).padStart(2, "0")).join(""),
    text,
    tensors: (await lib.inspect("org/stories", { hub }).result()).tensors.length,
    gated: await sentence(lib.openHubFolder("org/gated", hub)),
    open: await sentence(lib.openCheckpoint("org/gated", { hub: { endpoint, token } })),
    download: await sentence(lib.downloadModel("org/stories", hub).result()),
    path404: await sentence(lib.openCheckpoint("./some/folder")),
  };
}

browserTest("the library streams a model, and its token stays with the hub", async () => {
  const page: Page = await browser.newPage();
  await page.goto(`${library.url}/index.js`);
  let cuts = 0;
  hub.fault = (path) => (path === WEIGHTS && cuts++ === 1 ? { cutAfter: 600_000 } : undefined);
  const answers = await page.evaluate(inBrowser, [hub.url, TOKEN] as const);
  await page.close();
  assert.is(answers.path, `hf://org/stories@${COMMIT}`);
  assert.is(answers.sum, tagOf(WEIGHTS, stories[WEIGHTS]));
  assert.match(answers.text, /^Once ./);
  assert.ok(answers.tensors > 30);
  assert.match(
    answers.gated,
    /^PenjingError: \[org\/gated\] the repository is gated: accept its terms/,
  );
  assert.is(answers.open, "nothing was refused");
  assert.match(answers.download, /^PenjingError: .*opens no paths, as browsers/);
  assert.match(answers.path404, /^PenjingError: .*opens no paths, as browsers/);
  const told = hub.heard.filter(({ authorization }) => authorization !== undefined);
  assert.equal([...new Set(told.map(({ origin }) => origin))], ["hub"]);
  assert.ok(hub.heard.some(({ origin }) => origin === "cdn"));
  ran(`Chromium ${browser.version()}: a model from a hub, streamed`);
});

/** The page knows one hub; what it asks of that is answered by the fake one, once `gate` has. */
async function openHubPage(gate: (path: string) => Promise<unknown> = async () => undefined) {
  const context = await browser.newContext();
  await context.route("https://huggingface.co/**", async (route) => {
    const request = route.request();
    const { pathname, search } = new URL(request.url());
    if ((await gate(pathname)) === "cut") return route.abort("connectionreset");
    const response = await fetch(`${hub.url}${pathname}${search}`, { headers: request.headers() });
    return route.fulfill({
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: Buffer.from(await response.arrayBuffer()),
    });
  });
  hub.hasCdn = false;
  return { context, ...(await openPage(context, site.url)) };
}

browserTest("the page says that it opens a model until the model is there", async () => {
  let goOn = () => {};
  const gate = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const waits = (path: string) => (path.endsWith("tokenizer.json") ? gate : Promise.resolve());
  const { context, page, faults } = await openHubPage(waits);
  const opening = page.locator("[role=status]#opening");
  assert.is(await opening.textContent(), "");
  await page.locator("#name").fill("org/stories");
  await page.locator("#open-name").click();
  await opening.getByText("Opening org/stories: its headers and its tokenizer").waitFor();
  assert.ok(await opening.isVisible());
  assert.is(await page.locator("#facts").isVisible(), false);
  goOn();
  await page.locator("#facts:visible").waitFor();
  assert.is(await opening.textContent(), "");
  assert.equal(faults, []);
  await context.close();
});

browserTest(
  "an opening that fails ends in one sentence, and the next one is not disturbed",
  async () => {
    let isCut = true;
    const { context, page } = await openHubPage(async (path) =>
      isCut && path.endsWith("tokenizer.json") ? "cut" : undefined,
    );
    await page.locator("#name").fill("org/stories");
    await page.locator("#open-name").click();
    await page.locator("#opening").getByText("Opening org/stories").waitFor();
    const error = page.locator("#error:visible");
    await error.waitFor();
    assert.match((await error.textContent()) ?? "", /^[^\n]*org\/stories[^\n]*\.$/);
    assert.is(await page.locator("#opening").textContent(), "");
    isCut = false;
    await page.locator("#open-name").click();
    await page.locator("#facts:visible").waitFor();
    assert.is(await page.locator("#error").isVisible(), false);
    await context.close();
  },
);

browserTest("the page opens a model by its name on the hub", async () => {
  const { context, page, faults } = await openHubPage();
  await page.locator("#name").fill("org/stories");
  await page.locator("#name").press("Enter");
  await page.locator("#facts dd").first().waitFor();
  assert.is(await page.locator("#facts dd").first().textContent(), "org/stories");
  assert.ok(hub.fileBytes < 1e6, `${hub.fileBytes} bytes before anything is done`);
  await choose(page, { method: "magnitude", samples: 4, length: 32 });
  await page.locator("#start").click();
  await finish(page);
  assert.is(await page.locator("#layers tr").count(), 28);
  await page.locator("#name").fill("org/gated");
  await page.locator("#open-name").click();
  await page.locator("#error:visible").waitFor();
  assert.match(
    (await page.locator("#error").textContent()) ?? "",
    /gated: accept its terms at https:\/\/huggingface\.co\/org\/gated/,
  );
  await page.locator("#token").fill(TOKEN);
  await page.locator("#open-name").click();
  await page.locator("#facts:visible").waitFor();
  assert.is(await page.locator("#facts dd").first().textContent(), "org/gated");
  // Refused requests are told of on the console by the browser itself.
  assert.equal(
    faults.filter((text) => !/status of 401/.test(text)),
    [],
  );
  await context.close();
});

test.run();
