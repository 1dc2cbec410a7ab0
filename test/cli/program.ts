import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { repositoryRoot } from "../shared.js";

const BUILD = join(repositoryRoot, "build");

/** Whether the bundle was made after all that goes into it was last written. */
function isFresh(bundle: string): boolean {
  if (!existsSync(bundle)) return false;
  const made = statSync(bundle).mtimeMs;
  const sources = readdirSync(join(repositoryRoot, "src"), { recursive: true, encoding: "utf8" });
  return [
    ...sources.map((name) => join(repositoryRoot, "src", name)),
    ...["kernels.js", "kernels-relaxed.js", "shaders.js"].map((name) => join(BUILD, name)),
  ].every((path) => statSync(path).mtimeMs <= made);
}

const bundled = join(BUILD, "cli.js");
/**
 * The program that users run. It starts in half the time of the compiled modules, which stand in
 * where the bundle is older than a source.
 */
export const PROGRAM = isFresh(bundled) ? bundled : join(BUILD, "out", "src", "cli.js");
/** The embedded model and its texts. */
export const MODEL = join(repositoryRoot, "examples", "stories-1m");
export const CALIBRATION = join(MODEL, "calibration.txt");
export const EVALUATION = join(MODEL, "evaluation.txt");
/** Options that make a compression take well under a second. */
export const QUICK = ["--samples", "4", "--length", "32"] as const;

/** How a run of the program ended. */
export interface Ended {
  /** Exit code, or 128 and more for a signal that killed it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Working folder. @default the repository */
  readonly cwd?: string;
  /** Called once, when the program has printed something that matches `when`. */
  readonly act?: (child: ChildProcess) => void;
  /** @default /./ */
  readonly when?: RegExp;
}

/** Runs the program as a user does, its output on pipes. */
export function penjing(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const { cwd = repositoryRoot, when = /./ } = options;
  let { act } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      cwd,
      env: { ...process.env, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        printed[name] += text;
        if (!act || !when.test(printed[name])) return;
        act(child);
        act = undefined;
      });
    }
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? 128, ...printed }));
  });
}

/** The arguments of a quick compression of the embedded model. */
export function compressArgs(out: string, ...more: readonly string[]): string[] {
  return ["compress", MODEL, "--calibration", CALIBRATION, "--out", out, ...QUICK, ...more];
}

/** A folder that lasts for one suite. */
export function scratch<T>(test: Test<T>): string {
  const folder = mkdtempSync(join(tmpdir(), "penjing-test-"));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Mounts a small file system, which only root may; undefined when it cannot. */
export function smallDisk<T>(test: Test<T>): string | undefined {
  const path = scratch(test);
  const args = ["-t", "tmpfs", "-o", "size=1m", "penjing-test", path];
  return spawnSync("mount", args).status === 0 ? path : undefined;
}

/** A copy of the embedded model's folder that a test may damage. */
export function copyModel(folder: string, name: string): string {
  const copy = join(folder, name);
  cpSync(MODEL, copy, { recursive: true });
  return copy;
}

/** Runs what must fail with one clear sentence, and leave the folder `beside` as it was. */
export async function fails(
  args: readonly string[],
  message: RegExp,
  beside: string,
  code = 1,
): Promise<Ended> {
  const before = readdirSync(beside);
  const ended = await penjing(args);
  const label = `penjing ${args.join(" ")}\n${ended.stderr}`;
  assert.is(ended.code, code, label);
  assert.match(ended.stderr, message, label);
  assert.not.match(ended.stderr, /^ +at /m, `no stack: ${label}`);
  assert.not.match(ended.stderr, /fault of penjing/, label);
  assert.is(ended.stdout, "", label);
  assert.equal(readdirSync(beside), before, `nothing is left behind: ${label}`);
  return ended;
}
