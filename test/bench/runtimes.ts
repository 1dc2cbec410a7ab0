import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findBun, findDeno, findNode, type Program } from "../runtimes/programs.js";
import { repositoryRoot } from "../shared.js";
import type { Figure, RuntimeFigures } from "./figures.js";
import type { BenchOptions } from "./measure.js";

interface Bench {
  readonly run: (options: BenchOptions) => Promise<Figure[]>;
}

/** What runs the benchmarks, and how it is found. */
export const RUNTIMES: Readonly<Record<string, () => Program | undefined>> = {
  node20: () => findNode(20),
  node22: () => findNode(22),
  node24: () => findNode(24),
  deno: findDeno,
  bun: findBun,
};

const SELF = fileURLToPath(new URL("run.js", import.meta.url));

/** The benchmarks' names: the files beside this one whose source exports `run`. */
export function benchesOf(): string[] {
  const folder = join(repositoryRoot, "test", "bench");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".ts") && existsSync(new URL(compiled(name), import.meta.url)))
    .filter((name) =>
      /^export async function run\(/m.test(readFileSync(join(folder, name), "utf8")),
    )
    .map((name) => name.slice(0, -".ts".length))
    .sort();
}

function compiled(name: string): string {
  return name.replace(/\.ts$/, ".js");
}

/** What runs this very process, as in "Node 24.21.0". */
export function thisRuntime(): string {
  const versions = process.versions as Record<string, string | undefined>;
  if (versions.deno) return `Deno ${versions.deno}`;
  if (versions.bun) return `Bun ${versions.bun}`;
  return `Node ${versions.node}`;
}

/** Runs benchmarks in this process, and hands on each one's figures as soon as they are there. */
export async function measureHere(
  names: readonly string[],
  options: BenchOptions,
  show: (name: string, figures: Figure[], seconds: number) => void,
): Promise<RuntimeFigures> {
  const benches: Record<string, Figure[]> = {};
  for (const name of names) {
    const bench = (await import(new URL(`${name}.js`, import.meta.url).href)) as Bench;
    const started = performance.now();
    benches[name] = await bench.run(options);
    show(name, benches[name], (performance.now() - started) / 1000);
  }
  return { runtime: thisRuntime(), benches };
}

/**
 * Runs benchmarks in another runtime, which prints its tables here.
 *
 * @throws Error when that runtime is not there, or ends with an error
 */
export function measureOn(
  runtime: string,
  names: readonly string[],
  { quick }: BenchOptions,
): RuntimeFigures {
  const program = RUNTIMES[runtime]?.();
  if (!program) throw new Error(`There is no ${runtime} here.`);
  const folder = mkdtempSync(join(tmpdir(), "penjing-bench-"));
  try {
    const file = join(folder, "figures.json");
    const start = runtime === "deno" ? ["run", "--allow-all", SELF] : [SELF];
    const args = [...start, ...(quick ? ["--quick"] : []), "--json", file, ...names];
    const { status, error } = spawnSync(program.path, args, {
      cwd: repositoryRoot,
      stdio: ["ignore", "inherit", "inherit"],
    });
    if (status !== 0) throw error ?? new Error(`${program.name} ended with ${status}.`);
    return JSON.parse(readFileSync(file, "utf8"))[0];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
