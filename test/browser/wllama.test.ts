// GGUF files in a browser, by wllama: llama.cpp as WebAssembly, an optional package of test/runtimes/packages.
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { type ExportOptions, exportModel } from "../../src/export.js";
import { generate } from "../../src/generate.js";
import { faceOf, openRunning } from "../../src/models/open.js";
import { memoryFolder } from "../../src/platform/files.js";
import { tinyGguf } from "../checkpoint/gguf/models.js";
import { writeGguf } from "../checkpoint/gguf/writer.js";
import { scratch } from "../cli/program.js";
import { findChromium, launch, NO_CHROMIUM, serve } from "../runtimes/chromium.js";
import { ran, repositoryRoot, skipUnless } from "../shared.js";
import { MODEL } from "./page.js";

const test = suite("wllama");
const folder = scratch(test);
const PACKAGE = join(repositoryRoot, "node_modules", "@wllama", "wllama", "esm");
const hasAll = existsSync(PACKAGE) && findChromium() !== undefined;
const MISSING = existsSync(PACKAGE)
  ? NO_CHROMIUM
  : "@wllama/wllama is not here, an optional package of test/runtimes/packages";

/** What is asked of one model: files beside the page, and how its text goes on. */
interface Question {
  readonly files: readonly string[];
  readonly prompt: string;
  readonly count: number;
}

/** The part of wllama that is used. */
interface Wllama {
  loadModel(files: readonly Blob[], options: object): Promise<void>;
  createCompletion(options: object): Promise<{ choices: { text: string }[] }>;
  exit(): Promise<void>;
}

/** The likeliest text that wllama writes after a prompt, on one thread without a GPU. */
function completed(page: Page, question: Question): Promise<string> {
  return page.evaluate(async ({ files, prompt, count }) => {
    const path = "/wllama/index.js";
    const { Wllama: Opened } = (await import(path)) as {
      Wllama: new (paths: object) => Wllama;
    };
    const wllama = new Opened({ default: "/wllama/wllama.wasm" });
    const blobs = await Promise.all(files.map(async (file) => (await fetch(`/${file}`)).blob()));
    const loading = { n_ctx: 256, n_threads: 1, n_gpu_layers: 0, n_parallel: 1 };
    await wllama.loadModel(blobs, loading);
    const { choices } = await wllama.createCompletion({
      ...{ prompt, max_tokens: count, temperature: 0, ignore_eos: true },
    });
    await wllama.exit();
    return choices[0].text;
  }, question);
}

/** The same of penjing. */
async function own({ files, prompt, count }: Question): Promise<string> {
  const running = await openRunning(join(folder, files[0]), {
    ...{ backend: "wasm", threads: 1, simd: "baseline", maxTokens: 256 },
  });
  try {
    const model = faceOf(running);
    const options = { model, prompt, maxNewTokens: count, ignoreEos: true };
    return (await generate(options).result()).text.slice(prompt.length);
  } finally {
    await running.close();
  }
}

/** Writes a model as GGUF into the folder that is served. */
async function write(
  model: string | Checkpoint,
  name: string,
  options: Pick<ExportOptions, "ggufType" | "ggufEmbedding" | "shardBytes">,
): Promise<readonly string[]> {
  const out = join(folder, name);
  return (await exportModel({ model, out, layout: "gguf", ...options }).result()).files!;
}

/** A model whose rows are whole blocks of 256. */
async function wide(): Promise<Checkpoint> {
  const config = { hidden_size: 256, intermediate_size: 256, num_attention_heads: 4 };
  const longer = { ...config, max_position_embeddings: 256, tie_word_embeddings: false };
  return openCheckpoint(memoryFolder({ "m.gguf": writeGguf((await tinyGguf(longer)).written) }));
}

skipUnless(test, hasAll, MISSING, "files of every kind are loaded, and texts go on", async () => {
  mkdirSync(join(folder, "wllama"));
  copyFileSync(join(PACKAGE, "index.js"), join(folder, "wllama", "index.js"));
  copyFileSync(join(PACKAGE, "wasm", "wllama.wasm"), join(folder, "wllama", "wllama.wasm"));
  writeFileSync(join(folder, "index.html"), "<!doctype html><title>wllama</title>");
  const server = await serve(folder);
  const browser = await launch({ webgpu: false });
  try {
    const page = await browser.newPage();
    await page.goto(`${server.url}/`);
    const story = { prompt: "Once upon a time", count: 24 };
    for (const options of [{ ggufType: "F32" }, { shardBytes: 500_000 }]) {
      const files = await write(MODEL, `story-${Object.keys(options)}.gguf`, options);
      const found = await completed(page, { files, ...story });
      assert.is(found, await own({ files, ...story }), files[0]);
      assert.match(found, /^, there was a little girl/);
    }
    // With quantized weights llama.cpp rounds activations too: after some tokens another one may be likelier.
    const words = { prompt: "abc", count: 6 };
    const texts = new Set<string>();
    for (const ggufType of ["Q8_0", "Q4_0", "Q4_K_M", "Q5_K", "Q6_K"]) {
      const files = await write(await wide(), `${ggufType}.gguf`, { ggufType });
      const exact = `${ggufType}-exact.gguf`;
      await write(join(folder, files[0]), exact, { ggufType: "F32", ggufEmbedding: "F32" });
      const found = await completed(page, { files, ...words });
      assert.is(found, await completed(page, { files: [exact], ...words }), ggufType);
      texts.add(found);
    }
    assert.ok(texts.size > 1, "the texts depend on the weights");
    ran("wllama: GGUF files in Chromium");
  } finally {
    await browser.close();
    await server.close();
  }
});

test.run();
