import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { LargeRun } from "./child/run-large.js";
import type { BenchOptions, Figure } from "./measure.js";

const CHILD = fileURLToPath(new URL("child/run-large.js", import.meta.url));

function runLarge(
  what: "eval" | "generate",
  layers: number,
  width: number,
  most: number,
): LargeRun {
  const args = [CHILD, what, String(layers), String(width), String(most)];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

/**
 * A model of 12 GB, larger than a WebAssembly memory: evaluated under a limit of 4 GiB, block by block, and
 * generated with where there is room for its weights, in several memories. A small one when quick.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const [layers, width] = quick ? [2, 512] : [28, 4096];
  const scored = runLarge("eval", layers, width, 2 ** 32);
  const written = runLarge("generate", layers, width, quick ? 2 ** 32 : 2 ** 34);
  const gigabytes = (name: string, bytes: number, by?: string): Figure => {
    return { name, by, value: bytes / 2 ** 30, unit: "GiB" };
  };
  const name = `${layers} blocks of width ${width}`;
  return [
    gigabytes(`${name}, weights`, scored.weightBytes),
    { name: "perplexity", by: "eval", value: scored.perplexity, unit: "" },
    { name: "time", by: "eval", value: scored.seconds, unit: "s" },
    gigabytes("resident, peak", scored.peakResidentBytes, "eval"),
    { name: "tokens", by: "generate", value: written.tokens, unit: "" },
    { name: "tokens/s", by: "generate", value: written.tokensPerSecond, unit: "tokens/s" },
    { name: "time", by: "generate", value: written.seconds, unit: "s" },
    gigabytes("resident, peak", written.peakResidentBytes, "generate"),
  ];
}
