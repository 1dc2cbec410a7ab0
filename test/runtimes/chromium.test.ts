// Chromium runs the packed tarball's portable build: in a page and in a worker, with WebGPU and
// without, with shared memory and without.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { VERSION } from "../../src/version.js";
import { ran, skipUnless } from "../shared.js";
import { type Answers, compare, computeAnswers } from "./answers.js";
import { findChromium, type LaunchOptions, launch, NO_CHROMIUM, serve } from "./chromium.js";
import { makeConsumer } from "./consumer.js";
import type { SmokeResult } from "./smoke.js";

interface Suite {
  readonly version: string;
  run(backend: string): Promise<SmokeResult>;
  inWorker(backend: string): Promise<{
    readonly result?: SmokeResult;
    readonly sharedMemory?: string;
    readonly failure?: string;
  }>;
  adapterName(): Promise<string | undefined>;
  openPath(): Promise<{ readonly own: boolean; readonly message: string }>;
  openWebGpu(): Promise<{ readonly own: boolean; readonly message: string }>;
}

const test = suite("runtimes/chromium");
const consumer = makeConsumer(test);
const hasChromium = findChromium() !== undefined;

let answers: Answers;

function chromiumTest(name: string, run: () => Promise<void>): void {
  skipUnless(test, hasChromium, NO_CHROMIUM, `Chromium: ${name}`, run);
}

/** Hands the suite's page in a fresh browser to `use`. */
async function visit(
  { isolated, ...options }: LaunchOptions & { readonly isolated: boolean },
  use: (page: Page, browser: Browser) => Promise<void>,
): Promise<void> {
  const folder = await consumer();
  answers ??= await computeAnswers();
  writeFileSync(join(folder, "input.json"), JSON.stringify(answers.input));
  const server = await serve(folder, { isolated });
  const browser = await launch(options);
  try {
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    await page.goto(`${server.url}/page.html`);
    await page
      .waitForFunction("globalThis.suite", undefined, { timeout: 30_000 })
      .catch((error) => {
        throw new Error(`${error}\n${problems.join("\n")}`);
      });
    await use(page, browser);
  } finally {
    await browser.close();
    await server.close();
  }
}

function call<Name extends Exclude<keyof Suite, "version">>(
  page: Page,
  name: Name,
  argument?: string,
): ReturnType<Suite[Name]> {
  const expression = `suite.${name}(${JSON.stringify(argument)})`;
  return page.evaluate(expression) as ReturnType<Suite[Name]>;
}

chromiumTest("WebAssembly and WebGPU in a page", () =>
  visit({ webgpu: true, isolated: true }, async (page, browser) => {
    const name = `Chromium ${browser.version()}`;
    assert.is(await page.evaluate("suite.version"), VERSION);
    assert.is(await page.evaluate("crossOriginIsolated"), true);
    compare(await call(page, "run", "wasm"), answers, name);
    ran(`${name}: WebAssembly`);
    const { own, message } = await call(page, "openPath");
    assert.ok(own);
    assert.match(message, /no file system.*memoryFolder/);
    const adapter = await call(page, "adapterName");
    assert.ok(adapter, "Chromium gives no adapter");
    const result = await call(page, "run", "webgpu");
    assert.is(result.backend, "webgpu");
    compare(result, answers, name);
    ran(`${name}: WebGPU on ${adapter}`);
  }),
);

chromiumTest("a worker without shared memory, and no WebGPU", () =>
  visit({ webgpu: false, isolated: false }, async (page) => {
    assert.is(await page.evaluate("crossOriginIsolated"), false);
    const { result, sharedMemory, failure } = await call(page, "inWorker", "auto");
    assert.is(failure, undefined);
    assert.is(sharedMemory, "undefined");
    assert.is(result!.backend, "wasm");
    compare(result!, answers, "Chromium's worker", 1);
    const { own, message } = await call(page, "openWebGpu");
    assert.ok(own, message);
    assert.match(
      message,
      /^\[webgpu\] (this runtime has no WebGPU|there is no GPU adapter); use `backend: wasm`/,
    );
  }),
);

test.run();
