import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { openWasm } from "../../src/backends/wasm.js";
import { generate } from "../../src/generate.js";
import { type OpenModel, openModel } from "../../src/models/open.js";
import { HAS_LLAMA } from "../runtimes/llama.js";
import { repositoryRoot } from "../shared.js";
import { hasYardstick } from "../yardstick.js";
import { promptOf, withCodes } from "./codes-files.js";
import { median } from "./figures.js";
import type { BenchOptions, Figure } from "./measure.js";

const PROGRAM = join(repositoryRoot, "test", "bench", "child", "llama-decode.mjs");

interface Generated {
  readonly promptSeconds: number;
  readonly seconds: number;
}

/** A process with llama.cpp that generates from one file. */
function openLlama(file: string, threads: number) {
  const child = spawn(process.execPath, [PROGRAM, file, String(threads)], {
    ...{ cwd: repositoryRoot, stdio: ["pipe", "pipe", "inherit"] },
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    async generate(ids: Int32Array, count: number): Promise<Generated> {
      child.stdin!.write(`${JSON.stringify({ ids: [...ids], count })}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error("llama.cpp ended before it answered.");
      return JSON.parse(value);
    },
    async close(): Promise<void> {
      child.stdin!.end();
      if (child.exitCode === null) await once(child, "close");
    },
  };
}

/** What penjing takes for a prompt, and for as many tokens after it. */
async function own(model: OpenModel, prompt: string, count: number) {
  const started = performance.now();
  const run = generate({ model, prompt, ignoreEos: true, maxNewTokens: count });
  let first = 0;
  for await (const { type } of run) if (type === "token") first ||= performance.now();
  const { promptIds } = await run.result();
  const seconds = (performance.now() - first) / 1000;
  return { promptIds, promptSeconds: (first - started) / 1000, seconds };
}

/**
 * Generating with SmolLM2-135M, quantized by rounding, beside llama.cpp with the same codes in a GGUF file and as
 * many threads, in turns. Needs the model and node-llama-cpp (test/runtimes/packages).
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  if (!hasYardstick() || !HAS_LLAMA) return [];
  const threads = availableParallelism();
  const [rounds, count] = quick ? [2, 8] : [5, 64];
  const figures: Figure[] = [];
  await withCodes(async ({ type, folder, model, file }) => {
    const backend = await openWasm({ threads });
    const held = backend.memory().live;
    const opened = await openModel(join(folder, model), { backend, activations: "int8" });
    const bytes = backend.memory().live - held;
    const peer = openLlama(join(folder, file), threads);
    try {
      for (const isLong of [false, true]) {
        const [ours, theirs]: [number[], number[]] = [[], []];
        let tokens = count;
        // The first turn warms both up.
        for (let round = 0; round <= rounds; round++) {
          const one = await own(opened, promptOf(round, isLong), isLong ? 2 : count);
          const other = await peer.generate(one.promptIds, isLong ? 2 : count);
          if (isLong) tokens = one.promptIds.length;
          if (round === 0) continue;
          for (const [rates, took] of [[ours, one] as const, [theirs, other] as const]) {
            rates.push(tokens / (isLong ? took.promptSeconds : took.seconds));
          }
        }
        const ratio = median(ours.map((rate, i) => rate / theirs[i]));
        const what = isLong ? `a prompt of ${tokens} tokens` : "one token after another";
        const name = `SmolLM2 ${type}, ${what}`;
        figures.push(
          { name: `${name}, llama.cpp`, value: median(theirs), unit: "tokens/s" },
          { name, value: median(ours), unit: "tokens/s", ratio, against: "llama.cpp" },
        );
      }
      figures.push({
        name: `SmolLM2 ${type}, tensors held`,
        ...{ value: bytes / 1e6, unit: "MB", ratio: bytes / opened.weightBytes },
        against: "the file's",
      });
    } finally {
      await peer.close();
      await opened.close();
      backend.dispose();
    }
  });
  return figures;
}
