import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { openWasm } from "../../src/backends/wasm.js";
import { compress } from "../../src/compress.js";
import { exportModel } from "../../src/export.js";
import { generate } from "../../src/generate.js";
import { openModel } from "../../src/models/open.js";
import { HAS_LLAMA } from "../runtimes/llama.js";
import { repositoryRoot } from "../shared.js";
import { hasYardstick, yardstickPath } from "../yardstick.js";
import { median } from "./figures.js";
import type { BenchOptions, Figure } from "./measure.js";

const PROGRAM = join(repositoryRoot, "test", "bench", "child", "llama-decode.mjs");
const PROMPT =
  "The history of the city begins with a small settlement on the river, where traders from the north";
/** Bits of linears by the type that has them in a GGUF file; the embedding, which is the head too, has 8. */
const TYPES = { Q8_0: 8, Q4_0: 4 };

interface Generated {
  readonly promptSeconds: number;
  readonly seconds: number;
  readonly ids: readonly number[];
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

/**
 * Generating with SmolLM2-135M, quantized by rounding, beside llama.cpp with the same codes in a GGUF file and as
 * many threads, in turns. Needs the model and node-llama-cpp (test/runtimes/packages).
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  if (!hasYardstick() || !HAS_LLAMA) return [];
  const threads = availableParallelism();
  const [rounds, count] = quick ? [2, 8] : [5, 64];
  const folder = mkdtempSync(join(tmpdir(), "penjing-llama-"));
  const figures: Figure[] = [];
  try {
    for (const [type, bits] of Object.entries(TYPES)) {
      const [model, file] = [join(folder, type), join(folder, `${type}.gguf`)];
      const quantize = { method: "rtn", weighted: false, bits, groupSize: 32, embeddingBits: 8 };
      const recipe = { version: 2, steps: [{ quantize }] } as const;
      await compress({ model: yardstickPath("smollm2"), out: model, recipe }).result();
      await exportModel({ model, out: file, layout: "gguf" }).result();
      const backend = await openWasm({ threads });
      const held = backend.memory().live;
      const own = await openModel(model, { backend, activations: "int8" });
      const bytes = backend.memory().live - held;
      const peer = openLlama(file, threads);
      try {
        const options = { model: own, prompt: PROMPT, ignoreEos: true, maxNewTokens: count };
        const { promptIds } = await generate({ ...options, maxNewTokens: 8 }).result();
        await peer.generate(promptIds, 8);
        const [ours, theirs]: [number[], number[]] = [[], []];
        for (let round = 0; round < rounds; round++) {
          ours.push((await generate(options).result()).tokensPerSecond);
          theirs.push(count / (await peer.generate(promptIds, count)).seconds);
        }
        const ratio = median(ours.map((rate, i) => rate / theirs[i]));
        const name = `SmolLM2 ${type}, one token after another`;
        figures.push(
          { name: `${name}, llama.cpp`, value: median(theirs), unit: "tokens/s" },
          { name, value: median(ours), unit: "tokens/s", ratio, against: "llama.cpp" },
          {
            name: `SmolLM2 ${type}, tensors held`,
            ...{ value: bytes / 1e6, unit: "MB", ratio: bytes / own.weightBytes },
            against: "the file's",
          },
        );
      } finally {
        await peer.close();
        await own.close();
        backend.dispose();
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return figures;
}
