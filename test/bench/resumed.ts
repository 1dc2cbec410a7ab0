import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { LargeEvent } from "./child/compress-large.js";
import type { BenchOptions, Figure } from "./measure.js";

const CHILD = fileURLToPath(new URL("child/compress-large.js", import.meta.url));

/** A shape by its name, or its config as JSON. */
interface ResumedCase {
  readonly shape: string;
  readonly windows: number;
  readonly length: number;
}

const SMALL = {
  model_type: "llama",
  hidden_size: 256,
  intermediate_size: 768,
  num_attention_heads: 4,
  num_key_value_heads: 2,
};

const BLOCKS = 2;

/**
 * Runs a compression; or kills it once its last block is being pruned.
 *
 * @returns its last event
 */
async function compressIn(
  { shape, windows, length }: ResumedCase,
  out: string,
  { spill, isKilled }: { readonly spill: boolean; readonly isKilled: boolean },
): Promise<LargeEvent> {
  const counts = [BLOCKS, windows, length].map(String);
  const args = [CHILD, shape, ...counts, out, spill ? "spill" : "plain"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  let last: LargeEvent | undefined;
  for await (const line of createInterface(child.stdout)) {
    last = JSON.parse(line) as LargeEvent;
    if (isKilled && last.block === BLOCKS - 1 && last.phase === "prune") child.kill("SIGKILL");
  }
  const code = await ended;
  if (isKilled ? code !== null : code !== 0) throw new Error(`${shape}: it ended with ${code}`);
  return last!;
}

/** SHA-256 of an output's weights. */
async function digestOf(out: string): Promise<string> {
  const hash = createHash("sha256");
  const files = readdirSync(out).filter((name) => name.endsWith(".safetensors"));
  for (const name of files.sort()) {
    for await (const piece of createReadStream(join(out, name))) hash.update(piece);
  }
  return hash.digest("hex");
}

/**
 * Two blocks of the shapes of Llama-3-8B and Qwen2.5-7B, compressed by SparseGPT to 2:4 over two windows of
 * 2,048 tokens: at one go, and killed in the second block and resumed, with and without `spill`. Small ones
 * when quick.
 *
 * @throws Error where the bytes that come out differ
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const cases: ResumedCase[] = quick
    ? [{ shape: JSON.stringify(SMALL), windows: 2, length: 128 }]
    : ["Llama-3-8B", "Qwen2.5-7B"].map((shape) => ({ shape, windows: 2, length: 2048 }));
  const figures: Figure[] = [];
  for (const one of cases) {
    const name = quick ? "a small one" : one.shape;
    const folder = mkdtempSync(join(tmpdir(), "penjing-resumed-"));
    try {
      const whole = join(folder, "whole");
      const started = performance.now();
      const { peakTensorBytes, peakResidentBytes } = await compressIn(one, whole, {
        ...{ spill: false, isKilled: false },
      });
      const seconds = (performance.now() - started) / 1000;
      const expected = await digestOf(whole);
      figures.push(
        { name: `${name}, time`, value: seconds, unit: "s" },
        { name: `${name}, tensors, peak`, value: peakTensorBytes! / 2 ** 20, unit: "MiB" },
        { name: `${name}, resident, peak`, value: peakResidentBytes / 2 ** 20, unit: "MiB" },
      );
      for (const spill of [false, true]) {
        const out = join(folder, spill ? "spilled" : "resumed");
        await compressIn(one, out, { spill, isKilled: true });
        await compressIn(one, out, { spill, isKilled: false });
        const isSame = (await digestOf(out)) === expected;
        const way = spill ? "killed and resumed, spilled" : "killed and resumed";
        if (!isSame) throw new Error(`${name}, ${way}: other bytes came out.`);
        figures.push({ name: `${name}, ${way}, equal bytes`, value: 1, unit: "" });
        rmSync(out, { recursive: true });
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return figures;
}
