import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { findChromium, launch, serve } from "../runtimes/chromium.js";
import { repositoryRoot } from "../shared.js";
import { hasYardstick } from "../yardstick.js";
import { promptOf, withCodes } from "./codes-files.js";
import { median } from "./figures.js";
import type { BenchOptions, Figure } from "./measure.js";

const PACKAGE = join(repositoryRoot, "node_modules", "@wllama", "wllama", "esm");

type Library = typeof import("../../src/index.js");

/** The part of wllama that is used. */
interface Wllama {
  loadModel(files: readonly Blob[], options: object): Promise<void>;
  createCompletion(options: object): Promise<{
    readonly timings: {
      readonly prompt_n: number;
      readonly prompt_per_second: number;
      readonly predicted_per_second: number;
    };
  }>;
  exit(): Promise<void>;
}

interface Question {
  readonly model: string;
  readonly files: readonly string[];
  readonly file: string;
  readonly threads: number;
  /** Of each turn. */
  readonly prompts: readonly string[];
  /** Tokens that follow the prompt. */
  readonly count: number;
}

/** Rates of either, in tokens/s, of each turn. It runs in the browser. */
async function measured({ model, files, file, threads, prompts, count }: Question) {
  const paths = ["/penjing/index.js", "/wllama/index.js"];
  const lib: Library = await import(paths[0]);
  const { Wllama: Opened } = (await import(paths[1])) as { Wllama: new (paths: object) => Wllama };
  const fetched = async (path: string) => (await fetch(path)).blob();
  const parts: Record<string, Uint8Array> = {};
  for (const name of files) {
    parts[name] = new Uint8Array(await (await fetched(`/${model}/${name}`)).arrayBuffer());
  }
  const backend = await lib.openBackend("wasm", { threads });
  const checkpoint = await lib.openCheckpoint(lib.memoryFolder(parts));
  const opened = await lib.openModel(checkpoint, { backend, activations: "int8" });
  const wllama = new Opened({ default: "/wllama/wllama.wasm" });
  await wllama.loadModel([await fetched(`/${file}`)], {
    ...{ n_ctx: 1024, n_batch: 1024, n_threads: threads, n_gpu_layers: 0, n_parallel: 1 },
  });
  const turns = [];
  for (const prompt of prompts) {
    const started = performance.now();
    const run = lib.generate({ model: opened, prompt, ignoreEos: true, maxNewTokens: count });
    let first = 0;
    for await (const { type } of run) if (type === "token") first ||= performance.now();
    const { promptIds, tokensPerSecond } = await run.result();
    const { timings } = await wllama.createCompletion({
      ...{ prompt, max_tokens: count, temperature: 0, ignore_eos: true },
    });
    if (timings.prompt_n !== promptIds.length) {
      throw new Error(`wllama read ${timings.prompt_n} tokens, and not ${promptIds.length}.`);
    }
    turns.push({
      tokens: promptIds.length,
      prompt: [(1000 * promptIds.length) / (first - started), timings.prompt_per_second] as const,
      next: [tokensPerSecond, timings.predicted_per_second] as const,
    });
  }
  await wllama.exit();
  await opened.close();
  backend.dispose();
  return turns;
}

/**
 * Generating with SmolLM2-135M in Chromium, quantized by rounding, beside wllama, which is llama.cpp as
 * WebAssembly, with the same codes in a GGUF file and as many threads, in turns. Needs the model, Chromium and
 * @wllama/wllama (test/runtimes/packages).
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  if (!hasYardstick() || !existsSync(PACKAGE) || !findChromium()) return [];
  const threads = availableParallelism();
  const [rounds, count] = quick ? [2, 8] : [5, 48];
  const figures: Figure[] = [];
  await withCodes(async ({ type, folder, model, file }) => {
    mkdirSync(join(folder, "wllama"), { recursive: true });
    copyFileSync(join(PACKAGE, "index.js"), join(folder, "wllama", "index.js"));
    copyFileSync(join(PACKAGE, "wasm", "wllama.wasm"), join(folder, "wllama", "wllama.wasm"));
    cpSync(join(repositoryRoot, "build", "portable"), join(folder, "penjing"), { recursive: true });
    writeFileSync(join(folder, "index.html"), "<!doctype html><title>Generating</title>");
    const server = await serve(folder);
    const browser = await launch({ webgpu: false });
    try {
      const page = await browser.newPage();
      await page.goto(`${server.url}/`);
      const asked = { model, files: readdirSync(join(folder, model)), file, threads };
      for (const isLong of [false, true]) {
        const prompts = Array.from({ length: rounds + 1 }, (_, i) => promptOf(i, isLong));
        const question = { ...asked, prompts, count: isLong ? 2 : count };
        // The first turn warms both up.
        const turns = (await page.evaluate(measured, question)).slice(1);
        const rates = turns.map((turn) => (isLong ? turn.prompt : turn.next));
        const what = isLong ? `a prompt of ${turns[0].tokens} tokens` : "one token after another";
        const name = `SmolLM2 ${type} in Chromium, ${what}`;
        figures.push(
          { name: `${name}, wllama`, value: median(rates.map(([, its]) => its)), unit: "tokens/s" },
          {
            ...{ name, value: median(rates.map(([own]) => own)), unit: "tokens/s" },
            ...{ ratio: median(rates.map(([own, its]) => own / its)), against: "wllama" },
          },
        );
      }
    } finally {
      await browser.close();
      await server.close();
    }
  });
  return figures;
}
