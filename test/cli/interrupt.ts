// Signals at any moment of a command, and how the command ends.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname } from "node:path";
import * as assert from "uvu/assert";
import { repositoryRoot } from "../shared.js";
import type { Inputs } from "./interrupt-inputs.js";
import { CALIBRATION, EVALUATION, MODEL, PROGRAM } from "./program.js";

/** A command on an input that makes some part of it take long. */
export interface Interruptible {
  /** What takes long, such as "eval, 40 MB of text". */
  readonly name: string;
  /** @param out a path that an output may have */
  readonly args: (inputs: Inputs, out: string) => Promise<readonly string[]>;
  /** Seconds within which signals are worth sending. */
  readonly span: number;
  /** Whether it needs an adapter for WebGPU. @default false */
  readonly isOnGpu?: boolean;
}

const wide = async (inputs: Inputs, out: string, length: number, ...more: string[]) => [
  ...["compress", await inputs.path("wide"), "--calibration", CALIBRATION, "--out", out],
  ...["--samples", "8", "--length", String(length), ...more],
];

/** Each command, with each of its parts. */
export const COMMANDS: readonly Interruptible[] = [
  { name: "methods", args: async () => ["methods"], span: 0.4 },
  { name: "inspect, small", args: async () => ["inspect", MODEL], span: 0.5 },
  {
    name: "inspect, 10^5 tensors",
    args: async (inputs) => ["inspect", await inputs.path("many")],
    span: 2.5,
  },
  {
    name: "inspect, 1.2 GB",
    args: async (inputs) => ["inspect", await inputs.path("big")],
    span: 3,
  },
  {
    name: "eval, 40 MB of text",
    args: async (inputs) => ["eval", MODEL, "--text", await inputs.path("text"), "--window", "64"],
    span: 8,
  },
  {
    name: "eval, one word of 10 MB",
    args: async (inputs) => ["eval", MODEL, "--text", await inputs.path("line"), "--window", "64"],
    span: 5,
  },
  {
    name: "eval, 10^5 tensors",
    args: async (inputs) => ["eval", await inputs.path("many"), "--text", EVALUATION],
    span: 6,
  },
  {
    name: "eval, 1.2 GB",
    args: async (inputs) => ["eval", await inputs.path("big"), "--text", EVALUATION],
    span: 4,
  },
  {
    name: "eval, 0.6 GB in 16 bits",
    args: async (inputs) => ["eval", await inputs.path("half"), "--text", EVALUATION],
    span: 4,
  },
  {
    name: "eval, on WebGPU",
    args: async () => ["eval", MODEL, "--text", EVALUATION, "--backend", "webgpu"],
    span: 4,
    isOnGpu: true,
  },
  {
    name: "compress, on WebGPU",
    args: async (inputs, out) => wide(inputs, out, 128, "--backend", "webgpu"),
    span: 12,
    isOnGpu: true,
  },
  {
    name: "eval, long windows",
    args: async (inputs) => ["eval", await inputs.path("wide"), "--text", EVALUATION],
    span: 4,
  },
  {
    name: "generate, small",
    args: async () => ["generate", MODEL, "Tom", "--ignore-eos"],
    span: 1.5,
  },
  {
    name: "generate, 1024 wide",
    args: async (inputs) => [
      ...["generate", await inputs.path("wide"), "Tom", "--ignore-eos", "--max-new-tokens", "900"],
    ],
    span: 4,
  },
  {
    name: "imatrix, 1024 wide",
    args: async (inputs, out) => [
      ...["imatrix", await inputs.path("wide"), "--calibration", CALIBRATION],
      ...["--samples", "16", "--length", "512", "--out", `${out}.gguf`],
    ],
    span: 4,
  },
  {
    name: "compress, small",
    args: async (_, out) => ["compress", MODEL, "--calibration", CALIBRATION, "--out", out],
    span: 2.5,
  },
  { name: "compress, sparsegpt", args: (inputs, out) => wide(inputs, out, 512), span: 15 },
  {
    name: "compress, wanda",
    args: (inputs, out) => wide(inputs, out, 128, "--method", "wanda"),
    span: 5,
  },
  {
    name: "compress, nowag",
    args: (inputs, out) => wide(inputs, out, 128, "--method", "nowag"),
    span: 5,
  },
  {
    name: "compress, armor",
    args: (inputs, out) => wide(inputs, out, 128, "--method", "armor", "--budget", "20s"),
    span: 20,
  },
  {
    name: "compress, rotation",
    args: (inputs, out) =>
      wide(inputs, out, 128, "--method", "wanda", "--rotate", "denoise", "--budget", "20s"),
    span: 20,
  },
  {
    name: "compress, packed",
    args: (inputs, out) => wide(inputs, out, 128, "--method", "magnitude", "--layout", "two-four"),
    span: 6,
  },
  {
    name: "compress, 10^5 tensors",
    args: async (inputs, out) => [
      ...["compress", await inputs.path("many"), "--method", "magnitude", "--out", out],
    ],
    span: 12,
  },
  {
    name: "compress, 10^4 overrides",
    args: async (inputs, out) => [
      ...["compress", await inputs.path("many"), "--recipe", await inputs.path("recipe")],
      ...["--out", out],
    ],
    span: 8,
  },
  {
    name: "compress, 1.2 GB",
    args: async (inputs, out) => [
      ...["compress", await inputs.path("big"), "--calibration", CALIBRATION, "--out", out],
      ...["--samples", "2", "--length", "64", "--method", "wanda"],
    ],
    span: 10,
  },
  {
    name: "export, 10^5 tensors",
    args: async (inputs, out) => ["export", await inputs.path("many"), "--out", out],
    span: 8,
  },
  {
    name: "export, multiplied out",
    args: async (inputs, out) => [
      ...["export", await inputs.path("turned"), "--reconstruct", "--out", out],
    ],
    span: 3,
  },
  {
    name: "export, 1.2 GB",
    args: async (inputs, out) => ["export", await inputs.path("big"), "--out", out],
    span: 3,
  },
];

/** How a command ended after a signal. */
export interface Reaction {
  /** What its progress said last: "start" before anything, else such as "calibrate". */
  readonly phase: string;
  /** From the signal to the exit. */
  readonly milliseconds: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** The last thing that a command's progress said it was at. */
function phaseOf(stderr: string, stdout: string): string {
  if (stdout !== "") return "answer";
  const phases = [
    ...stderr.matchAll(
      /of the text (read)|(perplexity) |block \d+ of \d+, (\w+)|%: (check|write|writing)/g,
    ),
  ];
  return phases.at(-1)?.slice(1).find(Boolean) ?? "start";
}

/**
 * Runs the program and sends it a signal.
 *
 * @param seconds after its start; sooner when it prints something that matches `when`
 * @returns undefined when it had ended before
 */
export function interrupt(
  args: readonly string[],
  seconds: number,
  { when, signal = "SIGINT" }: { readonly when?: RegExp; readonly signal?: NodeJS.Signals } = {},
): Promise<Reaction | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      cwd: repositoryRoot,
      // Without a folder there, Vulkan's loader complains on standard error.
      env: { XDG_RUNTIME_DIR: tmpdir(), ...process.env, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const printed = { stdout: "", stderr: "" };
    let sent: { readonly at: number; readonly phase: string } | undefined;
    let ended: Omit<Reaction, "stderr"> | undefined;
    const send = () => {
      clearTimeout(timer);
      if (sent || child.exitCode !== null) return;
      sent = { at: performance.now(), phase: phaseOf(printed.stderr, printed.stdout) };
      child.kill(signal);
    };
    const timer = setTimeout(send, seconds * 1000);
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        printed[name] += text;
        if (when?.test(printed[name])) send();
      });
    }
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      if (!sent) return;
      ended = { phase: sent.phase, milliseconds: performance.now() - sent.at, code, signal };
    });
    child.on("close", () => resolve(ended && { ...ended, stderr: printed.stderr }));
  });
}

/**
 * Holds the end of an interrupted command against what it must be: killed at once before anything was
 * begun, or exit code 130 or the signal itself, one sentence, a clean line, and nothing left but what the sentence names.
 *
 * @param out the path of its output; what lies beside it is removed
 */
export function checkEnd(
  { code, signal, phase, stderr }: Reaction,
  label: string,
  out: string,
): void {
  const partial = `${basename(out)}.partial`;
  const left = readdirSync(dirname(out)).filter((name) => name.startsWith(basename(out)));
  const text = `${label}, at ${phase}: ${stderr}`;
  try {
    // It does not wait for a GPU that is at work.
    if (signal !== null) assert.is(signal, "SIGINT", text);
    if (signal !== null && stderr === "") {
      // Its own handling of signals had not begun, or had ended with its work.
      assert.ok(phase === "start" || phase === "answer", text);
      assert.equal(left, [], text);
      return;
    }
    // The signal may come when all is done.
    if (code === 0) return;
    if (signal === null) assert.is(code, 130, text);
    assert.match(stderr, /(^|\n)penjing: stopped(; [^\n]*)?\n$/, text);
    assert.is(stderr.match(/stopped/g)?.length, 1, text);
    assert.not.match(stderr, /^ +at .*\.[jt]s:\d/m, text);
    if (/what is done so far is kept/.test(stderr)) assert.equal(left, [partial], text);
    else assert.equal(left, [], text);
  } finally {
    for (const path of [out, `${out}.partial`, `${out}.gguf`]) {
      if (existsSync(path)) rmSync(path, { recursive: true });
    }
  }
}
