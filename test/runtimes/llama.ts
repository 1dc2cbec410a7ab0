/** llama.cpp as node-llama-cpp has it, which is an optional package of test/runtimes/packages. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openRunning } from "../../src/models/open.js";
import { losses } from "../losses.js";
import { repositoryRoot } from "../shared.js";

const folder = join(repositoryRoot, "node_modules");
const library = join(folder, "@node-llama-cpp", `${process.platform}-${process.arch}`);

/** Whether it is there, with a library for this machine. */
export const HAS_LLAMA = existsSync(join(folder, "node-llama-cpp")) && existsSync(library);

export interface LlamaQuestion {
  readonly path: string;
  /** To be judged. @default none */
  readonly ids?: readonly number[];
  /** To be made tokens of. @default none */
  readonly texts?: readonly string[];
}

export interface LlamaAnswer {
  /** Negative log-likelihoods of all ids but the first. */
  readonly nll: readonly number[];
  /** The most likely ids in their places. */
  readonly best: readonly number[];
  /** By how much their logits are the largest. */
  readonly margins: readonly number[];
  readonly texts: readonly (readonly number[])[];
}

/** What llama.cpp makes of GGUF files, one after another in a process of its own. */
export function askLlama(questions: readonly LlamaQuestion[]): Promise<LlamaAnswer[]> {
  return new Promise((resolve, reject) => {
    const program = join(repositoryRoot, "test", "runtimes", "llama.mjs");
    const child = spawn(process.execPath, [program], { cwd: repositoryRoot });
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        printed[name] += text;
      });
    }
    child.on("error", reject);
    child.on("close", (code) => {
      if (code !== 0) reject(new Error(`node-llama-cpp ended with ${code}: ${printed.stderr}`));
      else resolve(JSON.parse(printed.stdout));
    });
    child.stdin.end(JSON.stringify(questions));
  });
}

/** What a skipped test says is missing. */
export const MISSING = "node-llama-cpp is not here, an optional package of test/runtimes/packages";

/** Accepted ratio of perplexities, less 1. */
export const TOLERANCE = 0.005;

/** The mean of losses. */
export const meanOf = (values: ArrayLike<number>) =>
  Array.from(values).reduce((sum, one) => sum + one, 0) / values.length;

/** What is found here of a file that llama.cpp is asked about. */
export async function ownNll({ path, ids }: LlamaQuestion): Promise<number> {
  const running = await openRunning(path, {
    ...{ backend: "wasm", threads: 1, simd: "baseline" },
    maxTokens: ids!.length,
  });
  try {
    return meanOf(await losses(running, Int32Array.from(ids!)));
  } finally {
    await running.close();
  }
}
