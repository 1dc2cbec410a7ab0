import { spawn } from "node:child_process";
import { repositoryRoot } from "./shared.js";

/** How a Node process ended. */
export interface Result {
  /** Standard output and error together. */
  readonly output: string;
  /** The exit code, or what ended the process instead. */
  readonly ended: number | string;
}

/** What a check or a test file adds to the totals. */
export interface Outcome {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Why it failed beyond what its own output says. */
  readonly complaint?: string;
}

/** Runs a Node process in the repository to its end, or kills it after `limitSeconds`. */
export function execute(
  args: readonly string[],
  limitSeconds: number,
  env: NodeJS.ProcessEnv = {},
): Promise<Result> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      cwd: repositoryRoot,
      env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, limitSeconds * 1000);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
      });
    }
    child.on("error", (error) => {
      output += `${error}\n`;
    });
    const finish = (code: number | null, signal: NodeJS.Signals | null) => {
      clearTimeout(timer);
      const ended = late ? `the time limit of ${limitSeconds} s` : (code ?? signal ?? "no code");
      resolve({ output, ended });
    };
    child.on("close", finish);
    // A grandchild that outlives a killed test holds the pipes open: "close" would never come.
    child.on("exit", (code, signal) => late && finish(code, signal));
  });
}

/** A check passes when its program exits with 0; it counts as one test. */
export function judgeCheck({ ended }: Result): Outcome {
  return ended === 0
    ? { passed: 1, failed: 0, skipped: 0 }
    : { passed: 0, failed: 1, skipped: 0, complaint: `it ended with ${ended}` };
}

/** The last figure that uvu printed behind a label. */
function figure(output: string, label: string): number | undefined {
  const found = [...output.matchAll(new RegExp(`^ *${label}: +(\\d+)$`, "gm"))].at(-1);
  return found && Number(found[1]);
}

/**
 * Reads uvu's totals. A file fails when a test does, and also when it ends without totals, runs
 * nothing, exits with another code than 0, or skips a test without naming it.
 */
export function judgeTestFile({ output, ended }: Result): Outcome {
  const total = figure(output, "Total");
  const passed = figure(output, "Passed");
  const skipped = figure(output, "Skipped");
  if (total === undefined || passed === undefined || skipped === undefined) {
    const complaint = `it ended with ${ended}, without uvu's totals: does it call test.run()?`;
    return { passed: 0, failed: 1, skipped: 0, complaint };
  }
  if (total > passed) return { passed, failed: total - passed, skipped };
  const named = output.match(/^SKIP .+$/gm)?.length ?? 0;
  let complaint: string | undefined;
  if (ended !== 0) complaint = `its tests passed, but it ended with ${ended}`;
  else if (total + skipped === 0) complaint = "it executes no test";
  else if (skipped !== named) {
    complaint = `it skips ${skipped} tests and names ${named}: use skipUnless, never test.only`;
  }
  return { passed, failed: complaint ? 1 : 0, skipped, complaint };
}
