import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { openWasm } from "../../src/backends/wasm.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { hasModules, PYTHON } from "../oracles/oracles.js";
import { repositoryRoot, sharedPath } from "../shared.js";
import { hasYardstick, yardstickPath } from "../yardstick.js";
import { availableModes } from "./contenders.js";
import { median } from "./figures.js";
import type { BenchOptions, Figure } from "./measure.js";

const PROGRAM = join(repositoryRoot, "test", "bench", "child", "pytorch-windows.py");
const LENGTH = 1024;
const CHARACTERS = 60_000;
/** How far apart both losses may be, in nats a token: they are of the same work. */
const TOLERANCE = 1e-3;

/** What one window took and gave. */
interface Scored {
  readonly seconds: number;
  readonly nll: number;
}

/** A Python process that scores windows, one at a time. */
function openPyTorch(model: string) {
  const threads = String(availableParallelism());
  const child = spawn(PYTHON, [PROGRAM, model, threads], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    async score(ids: Int32Array): Promise<Scored> {
      child.stdin.write(`${JSON.stringify([...ids])}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error("PyTorch ended before it answered.");
      return JSON.parse(value);
    },
    async close(): Promise<void> {
      child.stdin.end();
      if (child.exitCode === null) await once(child, "close");
    },
  };
}

async function idsOf(model: string, text: string): Promise<Int32Array> {
  const checkpoint = await openCheckpoint(model);
  try {
    return (await loadTokenizer(checkpoint.folder)).encode(text);
  } finally {
    await checkpoint.close();
  }
}

/**
 * Evaluating SmolLM2-135M on windows of 1,024 tokens beside transformers in float32 with as many threads,
 * window by window in turns. Needs the model and test/oracles/install.mjs.
 *
 * @throws Error where both do not come to the same losses
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  if (!hasYardstick() || !hasModules("torch", "transformers")) return [];
  const model = yardstickPath("smollm2");
  const source = readFileSync(sharedPath("data", "wikitext2", "wiki.test.raw"), "utf8");
  const text = source.slice(0, CHARACTERS);
  const ids = await idsOf(model, text);
  const windows = quick ? 2 : 9;
  const figures: Figure[] = [];
  for (const simd of availableModes()) {
    const backend = await openWasm({ simd });
    const peer = openPyTorch(model);
    const stop = new AbortController();
    const [own, theirs]: [number[], number[]] = [[], []];
    let nll = 0;
    try {
      const options = { model, window: LENGTH, backend, text, signal: stop.signal };
      let started = performance.now();
      for await (const event of evaluatePerplexity(options)) {
        if (event.type !== "progress" || event.done === 0) continue;
        const seconds = (performance.now() - started) / 1000;
        const at = (event.done - 1) * LENGTH;
        const other = await peer.score(ids.subarray(at, at + LENGTH));
        nll += other.nll;
        const off = Math.abs(Math.log(event.perplexity) - nll / event.done);
        if (!(off < TOLERANCE)) throw new Error(`${event.done} windows: losses are ${off} apart.`);
        // The first window warms up, on both sides.
        if (event.done > 1) {
          own.push(seconds);
          theirs.push(other.seconds);
        }
        if (event.done === windows) break;
        started = performance.now();
      }
    } finally {
      stop.abort();
      await peer.close();
      backend.dispose();
    }
    const ratios = own.map((seconds, i) => theirs[i] / seconds);
    figures.push(
      {
        name: "evaluation, PyTorch float32",
        by: simd,
        value: LENGTH / median(theirs),
        unit: "tokens/s",
      },
      {
        ...{ name: "evaluation", by: simd, value: LENGTH / median(own), unit: "tokens/s" },
        ...{ ratio: median(ratios), against: "PyTorch" },
      },
    );
  }
  return figures;
}
