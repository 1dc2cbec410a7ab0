import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { repositoryRoot, sharedPath } from "../shared.js";
import {
  ARITHMETIC,
  CALIBRATION_FLAGS,
  DENSE,
  type RealResult,
  type RealRun,
  WINDOWS,
} from "./runs.js";

const PROGRAM = join(repositoryRoot, "build", "cli.js");
/** Milliseconds between looks at the memory of a process. */
const LOOK_MS = 500;

/** Of the stories' text: 24 windows, as the originals' figure is of. */
const STORY_CHARACTERS = 50_000;

type TextName = "calibration" | keyof typeof WINDOWS;

/** Writes the texts that the originals' figures are of, unless they are there. */
export function writeTexts(folder: string): (name: TextName) => string {
  const path = (name: TextName) => join(folder, `${name}.txt`);
  if (!existsSync(path("stories"))) {
    mkdirSync(folder, { recursive: true });
    const script = sharedPath("golden", "smollm2", "texts.mjs");
    const { status, stderr } = spawnSync(process.execPath, [script, folder], { encoding: "utf8" });
    if (status !== 0) throw new Error(`${script} failed: ${stderr}`);
    const stories = readFileSync(path("stories"), "utf8");
    writeFileSync(path("stories"), stories.slice(0, STORY_CHARACTERS));
  }
  return path;
}

/** Runs the program; tells its progress on standard error. */
async function run(args: readonly string[]): Promise<{ stdout: string; peakBytes?: number }> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let peak = 0;
  const timer = setInterval(() => {
    const status = `/proc/${child.pid}/status`;
    if (!existsSync(status)) return;
    const found = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(status, "utf8"));
    peak = Math.max(peak, 1024 * Number(found?.[1] ?? 0));
  }, LOOK_MS);
  try {
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    const code = await new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", resolve);
    });
    if (code !== 0) throw new Error(`penjing ${args.join(" ")} ended with ${code}`);
    return { stdout, ...(peak > 0 && { peakBytes: peak }) };
  } finally {
    clearInterval(timer);
  }
}

async function perplexity(
  model: string,
  name: keyof typeof WINDOWS,
  texts: (name: TextName) => string,
): Promise<number> {
  const args = ["eval", model, "--text", texts(name), "--window", String(WINDOWS[name])];
  const { stdout } = await run([...args, ...ARITHMETIC, "--json"]);
  return (JSON.parse(stdout) as { perplexity: number }).perplexity;
}

function bytesBelow(path: string): number {
  if (!statSync(path).isDirectory()) return statSync(path).size;
  return readdirSync(path).reduce((sum, name) => sum + bytesBelow(join(path, name)), 0);
}

/** Measures the model as it is. */
export async function measureDense(
  model: string,
  texts: (name: TextName) => string,
): Promise<RealResult> {
  const started = performance.now();
  return {
    perplexity: await perplexity(model, "evaluation", texts),
    stories: await perplexity(model, "stories", texts),
    bytes: bytesBelow(model),
    minutes: (performance.now() - started) / 60_000,
  };
}

/**
 * Compresses the model and measures the result, which is removed afterwards. What an earlier, stopped
 * run of the same began is gone on with.
 */
export async function measureRun(
  model: string,
  { name, flags }: RealRun,
  folder: string,
  texts: (name: TextName) => string,
): Promise<RealResult> {
  const out = join(folder, name.replaceAll(/[^\w]+/g, "-"));
  const started = performance.now();
  const command = ["compress", model, "--calibration", texts("calibration"), "--out", out];
  const { peakBytes } = await run([...command, ...CALIBRATION_FLAGS, ...flags, ...ARITHMETIC]);
  const minutes = (performance.now() - started) / 60_000;
  const result: RealResult = {
    perplexity: await perplexity(out, "evaluation", texts),
    stories: await perplexity(out, "stories", texts),
    bytes: bytesBelow(out),
    minutes,
    ...(peakBytes !== undefined && { peakBytes }),
  };
  rmSync(out, { recursive: true, force: true });
  return result;
}

/** Measures a run by its name's entry in the table. */
export function measure(
  model: string,
  run: RealRun | typeof DENSE,
  folder: string,
  texts: (name: TextName) => string,
): Promise<RealResult> {
  return run === DENSE ? measureDense(model, texts) : measureRun(model, run, folder, texts);
}
