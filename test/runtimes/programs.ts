import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../shared.js";

/** A runtime's program that was found and runs. */
export interface Program {
  /** As in "Deno 2.9.6". */
  readonly name: string;
  readonly path: string;
}

/** An executable of node_modules. npm leaves out the mark of some when it runs no scripts. */
function packaged(...parts: string[]): string[] {
  const path = join(repositoryRoot, "node_modules", ...parts);
  if (!existsSync(path)) return [];
  try {
    chmodSync(path, 0o755);
  } catch {
    // Then it has the mark already, or cannot be run, which shows.
  }
  return [path];
}

/** The first of the paths that prints its version, which `pattern` finds. */
function find(title: string, paths: readonly string[], pattern: RegExp): Program | undefined {
  for (const path of paths) {
    const child = spawnSync(path, ["--version"], { encoding: "utf8", timeout: 30_000 });
    const [, version] = child.stdout?.match(pattern) ?? [];
    if (version) return { name: `${title} ${version}`, path };
  }
  return undefined;
}

/** What an environment variable names, before anything else. */
function chosen(variable: string): string[] {
  const path = process.env[variable];
  return path ? [path] : [];
}

/** Node of a major version: NODE_22 or NODE_24, the development dependency, or this very one. */
export function findNode(major: number): Program | undefined {
  const system = `${process.platform}-${process.arch}`;
  const paths = [
    process.execPath,
    ...chosen(`NODE_${major}`),
    ...chosen("npm_node_execpath"),
    ...packaged(`node-${major}-${system}`, "bin", "node"),
    "node",
  ];
  return find("Node", paths, new RegExp(`^v(${major}\\.\\S+)`));
}

export function findDeno(): Program | undefined {
  const binary = ["linux-x64-glibc", "linux-arm64-glibc", "darwin-arm64", "darwin-x64"];
  const own = binary.flatMap((system) => packaged("@deno", system, "deno"));
  return find("Deno", [...chosen("DENO"), ...own, "deno"], /^deno (\S+)/);
}

export function findBun(): Program | undefined {
  const { platform, arch } = process;
  const system = `bun-${platform}-${arch === "arm64" ? "aarch64" : arch}`;
  const own = [...packaged("@oven", system, "bin", "bun"), ...packaged("bun", "bin", "bun.exe")];
  return find("Bun", [...chosen("BUN"), ...own, "bun"], /^(\d+\.\S+)/);
}

export function findWorkerd(): Program | undefined {
  const { platform, arch } = process;
  const system = `workerd-${platform}-${arch === "x64" ? "64" : arch}`;
  const own = [...packaged("@cloudflare", system, "bin", "workerd")];
  return find("workerd", [...chosen("WORKERD"), ...own, "workerd"], /^workerd (\S+)/);
}

export interface Ended {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, which is after `limitSeconds` at the latest. */
export function execute(
  path: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = {},
  limitSeconds = 150,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(path, args, {
      cwd,
      env: { ...process.env, NO_COLOR: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: limitSeconds * 1000,
      killSignal: "SIGKILL",
    });
    const printed = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8").on("data", (text: string) => {
        printed[stream] += text;
      });
    }
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code: code ?? String(signal), ...printed }));
  });
}
