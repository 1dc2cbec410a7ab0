import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../shared.js";

const sources = join(repositoryRoot, "test", "oracles");
const { oraclesPlace } = (await import(join(sources, "place.mjs"))) as {
  oraclesPlace(folder: string): string;
};
const place = oraclesPlace(sources);
const isReady = existsSync(join(place, "ready"));

/** Python: what PENJING_PYTHON names, that of test/oracles/install.mjs, or the system's. */
export const PYTHON =
  process.env.PENJING_PYTHON ?? (isReady ? join(place, "python", "bin", "python") : "python3");

/** What a skipped test says is missing. */
export function withoutPython(...modules: readonly string[]): string {
  return `no Python with ${modules.join(" and ")}; test/oracles/install.mjs installs it`;
}

/** Whether Python finds the modules. They are not imported, which takes seconds of the larger ones. */
export function hasModules(...modules: readonly string[]): boolean {
  const found =
    "import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))";
  return spawnSync(PYTHON, ["-c", found, ...modules]).status === 0;
}

/** On one thread: more only wait for each other where matrices are small and other tests run. */
const ONE_THREAD = { OMP_NUM_THREADS: "1" };

/** What a program of test/, by the parts of its path, prints as JSON when it reads a question as JSON. */
export function askProgram(question: unknown, ...parts: readonly string[]): unknown {
  const { status, stdout, stderr } = spawnSync(PYTHON, [join(repositoryRoot, "test", ...parts)], {
    input: JSON.stringify(question),
    env: { ...process.env, ...ONE_THREAD },
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  if (status !== 0) throw new Error(`${parts.at(-1)} failed: ${stderr}`);
  return JSON.parse(stdout);
}

/** The folder of llama.cpp's libraries; undefined where they are not installed. */
export const LLAMA_CPP = existsSync(join(place, "llama")) ? join(place, "llama") : undefined;

/** The folder of a real model's tokenizer, as in "qwen3"; undefined where it is not installed. */
export function tokenizerFolder(name: string): string | undefined {
  const folder = join(place, "tokenizers", name);
  return isReady && existsSync(folder) ? folder : undefined;
}
