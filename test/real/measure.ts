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
import { processorName } from "../bench/guard/builds.js";
import { askProgram, LLAMA_CPP } from "../oracles/oracles.js";
import { findNode } from "../runtimes/programs.js";
import { repositoryRoot, sharedPath } from "../shared.js";
import { yardstickFigures, yardstickPath } from "../yardstick.js";
import { DENSE, LLAMA_ROWS, type RealResult, type RealRun, type Setting, WINDOWS } from "./runs.js";

const PROGRAM = join(repositoryRoot, "build", "cli.js");
/** Milliseconds between looks at what a process has used. */
const LOOK_MS = 500;
/** Of processor time, as /proc counts it, in a minute. */
const TICKS_PER_MINUTE = 100 * 60;

/** Of the stories' text: 24 windows, as the originals' figure is of. */
const STORY_CHARACTERS = 50_000;
/** Of the evaluation's text: 8 windows, on which divergences are taken. */
const BEGINNING_CHARACTERS = 35_000;
/** Of each half of the mixed text: 8 windows, of WikiText-2 and of stories that are not scored. */
const HALF_CHARACTERS = 16_750;

type Usage = Required<Pick<RealResult, "peakBytes" | "coreMinutes">>;

type TextName = "calibration" | "mixed" | keyof typeof WINDOWS;

/** Where runs are made, and how. */
export interface Place {
  /** For what is unfinished. */
  readonly folder: string;
  readonly texts: (name: TextName) => string;
  readonly setting: Setting;
}

/** Writes the texts that the originals' figures are of, unless they are there. */
export function writeTexts(folder: string): (name: TextName) => string {
  const path = (name: TextName) => join(folder, `${name}.txt`);
  if (!existsSync(path("beginning"))) {
    mkdirSync(folder, { recursive: true });
    const script = sharedPath("golden", "smollm2", "texts.mjs");
    const { status, stderr } = spawnSync(process.execPath, [script, folder], { encoding: "utf8" });
    if (status !== 0) throw new Error(`${script} failed: ${stderr}`);
    const stories = readFileSync(path("stories"), "utf8");
    writeFileSync(path("stories"), stories.slice(0, STORY_CHARACTERS));
    const evaluation = readFileSync(path("evaluation"), "utf8");
    writeFileSync(path("beginning"), evaluation.slice(0, BEGINNING_CHARACTERS));
  }
  if (!existsSync(path("mixed"))) {
    const stories = readFileSync(sharedPath("data", "tinystories", "val.txt"), "utf8");
    const own = readFileSync(path("calibration"), "utf8").slice(0, HALF_CHARACTERS);
    // More of them than is read.
    const other = stories.slice(2 * STORY_CHARACTERS, 2 * STORY_CHARACTERS + 2 * HALF_CHARACTERS);
    writeFileSync(path("mixed"), `${own}\n${other}`);
  }
  return path;
}

/** What a process has used so far; undefined where the system does not tell, or it has ended. */
function usageOf(pid: number | undefined): Usage | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    // The name in parentheses may have spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
    const ticks = Number(fields[11]) + Number(fields[12]);
    const peak = /^VmHWM:\s+(\d+) kB/m.exec(status);
    return peak
      ? { peakBytes: 1024 * Number(peak[1]), coreMinutes: ticks / TICKS_PER_MINUTE }
      : undefined;
  } catch {
    return undefined;
  }
}

type Used = Partial<Usage> & { readonly minutes: number };

/** What a row's runs used, the stopped ones among them: kept in a file beside what those left. */
class RowUsage {
  private readonly started = performance.now();
  private readonly before: Partial<Used>;

  constructor(private readonly path: string) {
    this.before = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
  }

  /** @param now what the run at hand used so far */
  sum(now: Usage | undefined): Used {
    const { minutes = 0, coreMinutes = 0, peakBytes = 0 } = this.before;
    return {
      minutes: minutes + (performance.now() - this.started) / 60_000,
      ...(now && {
        coreMinutes: coreMinutes + now.coreMinutes,
        peakBytes: Math.max(peakBytes, now.peakBytes),
      }),
    };
  }

  keep(now: Usage): void {
    writeFileSync(this.path, JSON.stringify(this.sum(now)));
  }

  forget(): void {
    rmSync(this.path, { force: true });
  }
}

/** The Node that a setting asks for. */
function nodeOf({ node }: Setting): string {
  const found = node === undefined ? undefined : findNode(node);
  return found?.path ?? process.execPath;
}

/**
 * Runs the program; tells its progress on standard error.
 *
 * @param tell is told what it has used so far, from time to time
 */
async function run(
  args: readonly string[],
  node = process.execPath,
  tell: (usage: Usage) => void = () => {},
): Promise<{ stdout: string; usage?: Usage }> {
  const child = spawn(node, [PROGRAM, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let usage: Usage | undefined;
  const timer = setInterval(() => {
    usage = usageOf(child.pid) ?? usage;
    if (usage) tell(usage);
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
    return { stdout, ...(usage && { usage }) };
  } finally {
    clearInterval(timer);
  }
}

interface Score {
  readonly perplexity: number;
  readonly against?: { readonly kl: number };
}

/** @param against the model that it is held against. @default none */
async function score(
  model: string,
  name: keyof typeof WINDOWS,
  { texts, setting }: Place,
  against?: string,
): Promise<Score> {
  const args = ["eval", model, "--text", texts(name), "--window", String(WINDOWS[name])];
  const beside = against === undefined ? [] : ["--against", against];
  const { stdout } = await run(
    [...args, ...beside, ...setting.arithmetic, "--json"],
    nodeOf(setting),
  );
  return JSON.parse(stdout);
}

type Scores = Pick<RealResult, "perplexity" | "stories" | "kl">;

/** The perplexities of a model, and what it is off by where it is held against another. */
async function scores(model: string, place: Place, against?: string): Promise<Scores> {
  const { evaluation } = place.setting;
  // Divergences are taken on the beginning, which may be all that is scored.
  const beside = evaluation === "beginning" ? against : undefined;
  const { perplexity, ...scored } = await score(model, evaluation, place, beside);
  const { perplexity: stories } = await score(model, "stories", place);
  const { kl } = scored.against ?? (await divergence(model, place, against));
  return { perplexity, stories, ...(kl !== undefined && { kl }) };
}

async function divergence(
  model: string,
  place: Place,
  against?: string,
): Promise<Pick<RealResult, "kl">> {
  if (against === undefined) return {};
  return { kl: (await score(model, "beginning", place, against)).against!.kl };
}

/** The perplexity of llama.cpp's own file is known; by which it is off is not. */
async function llamaScores(
  file: string,
  type: string,
  place: Place,
  against: string | undefined,
): Promise<Scores> {
  const { rows } = yardstickFigures<{ rows: { file: string; ppl: number }[] }>("llama-cpp.json");
  const { ppl } = rows.find((row) => row.file.endsWith(`.${type.toLowerCase()}.gguf`))!;
  return { perplexity: ppl, ...(await divergence(file, place, against)) };
}

/** How many matrices of a GGUF file are of which type. */
async function typesOf(file: string): Promise<Record<string, number>> {
  const { stdout } = await run(["inspect", file, "--json"]);
  const { tensors } = JSON.parse(stdout) as {
    tensors: readonly { readonly storedAs: string; readonly shape: readonly number[] }[];
  };
  const types: Record<string, number> = {};
  for (const { storedAs } of tensors.filter(({ shape }) => shape.length === 2)) {
    types[storedAs] = (types[storedAs] ?? 0) + 1;
  }
  return types;
}

function bytesBelow(path: string): number {
  if (!statSync(path).isDirectory()) return statSync(path).size;
  return readdirSync(path).reduce((sum, name) => sum + bytesBelow(join(path, name)), 0);
}

/** Measures the model as it is. */
export async function measureDense(model: string, place: Place): Promise<RealResult> {
  const started = performance.now();
  return {
    ...(await scores(model, place)),
    bytes: bytesBelow(model),
    minutes: (performance.now() - started) / 60_000,
  };
}

/** Has a Python program make a model; what it tells goes to standard output. */
function runProgram(program: string, out: string): void {
  const told = askProgram({ model: yardstickPath("smollm2"), out }, "real", program);
  console.log(`${program}: ${JSON.stringify(told)}`);
}

/** Has llama.cpp's quantizer make a file of the dithered model. */
function quantizeByLlama(type: number, out: string): void {
  const from = yardstickPath("smollm2-dither.gguf");
  const question = { llama: LLAMA_CPP, from, ftypes: [[type, out]] };
  askProgram(question, "checkpoint", "gguf", "files.py");
}

/**
 * Compresses the model and measures the result, which is removed afterwards. What an earlier, stopped
 * run of the same began is gone on with.
 */
export async function measureRun(
  model: string,
  { name, flags, calibration = "calibration", program, llamaType, isDithered }: RealRun,
  place: Place,
): Promise<RealResult> {
  const { setting, texts } = place;
  const path = join(place.folder, name.replaceAll(/[^\w]+/g, "-"));
  const out = isDithered ? `${path}.gguf` : path;
  const against = isDithered ? yardstickPath(DENSE.dithered) : undefined;
  const row = new RowUsage(`${path}.used.json`);
  const command = ["compress", against ?? model, "--calibration", texts(calibration)];
  let usage: Usage | undefined;
  if (program) runProgram(program, out);
  else if (llamaType !== undefined) quantizeByLlama(llamaType, out);
  else {
    const flagged = [...setting.calibration, ...flags, ...setting.arithmetic];
    const all = [...command, "--out", out, ...flagged];
    ({ usage } = await run(all, nodeOf(setting), (now) => row.keep(now)));
  }
  const used = row.sum(usage);
  const result: RealResult = {
    ...(llamaType === undefined
      ? await scores(out, place, against)
      : await llamaScores(out, name.replace(`${LLAMA_ROWS} `, ""), place, against)),
    bytes: bytesBelow(out),
    ...(isDithered && { types: await typesOf(out) }),
    ...used,
    processor: processorName(),
  };
  row.forget();
  rmSync(out, { recursive: true, force: true });
  return result;
}

/** Measures a run, or the model as it is, by the name of `DENSE`. */
export function measure(model: string, run: RealRun | string, place: Place): Promise<RealResult> {
  if (typeof run === "string") return measureDense(yardstickPath(DENSE[run]), place);
  return measureRun(model, run, place);
}
