// Where a GPU is at hand: npm run check:gpu, in six minutes at most. The contract suites and models on
// its adapter, the page's kernels in Chromium on it, the benches, and cuSPARSELt's own bytes beside
// those that penjing predicts. What cannot be run there is named.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findGpu, isSoftware, nameOf } from "../../../src/backends/webgpu/device.js";
import { findLayout } from "../../../src/layouts/index.js";
import { sparseMatrix } from "../../layouts/matrices.js";
import { PYTHON } from "../../oracles/oracles.js";
import { findChromium, NO_CHROMIUM } from "../../runtimes/chromium.js";
import { repositoryRoot } from "../../shared.js";

const ALL_SECONDS = 360;
const BENCH = join(repositoryRoot, "build", "bench", "gpu.js");
const RUNNER = join(repositoryRoot, "build", "out", "test", "run.js");

type Verdict = "ok" | "FAILED" | "out of time" | { readonly skipped: string };

interface Step {
  readonly name: string;
  /** Seconds at most, of those that are left. */
  readonly limit: number;
  readonly run: (seconds: number) => Promise<Verdict>;
}

const began = performance.now();
const secondsLeft = () => ALL_SECONDS - (performance.now() - began) / 1000;

/** Runs a program whose output is shown. */
function show(path: string, args: readonly string[], seconds: number): Promise<Verdict> {
  return new Promise((resolve, reject) => {
    let isLate = false;
    const child = spawn(path, args, { cwd: repositoryRoot, stdio: "inherit", detached: true });
    const timer = setTimeout(() => {
      isLate = true;
      // With what it has started.
      process.kill(-child.pid!, "SIGKILL");
    }, seconds * 1000);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve(isLate ? "out of time" : code === 0 ? "ok" : "FAILED");
    });
  });
}

const runTests = (names: readonly string[], seconds: number) =>
  show(process.execPath, [RUNNER, ...names], seconds);

/** cuSPARSELt's layouts by major compute capability. */
const LAYOUTS: Readonly<Record<string, string>> = { 8: "cusparselt-sm80", 9: "cusparselt-sm90" };
const SHAPES = [
  [128, 128],
  [256, 512],
  [512, 256],
  [1024, 4096],
] as const;
/** Those that the layouts take. */
const DTYPES = ["F16", "BF16"] as const;

/** Major compute capability; why there is none otherwise. */
const CAPABILITY = `
import torch
if not torch.cuda.is_available():
    print("PyTorch finds no CUDA device")
elif not torch.backends.cusparselt.is_available():
    print("PyTorch has no cuSPARSELt here")
else:
    print(torch.cuda.get_device_capability()[0])
`;

/** Compresses each matrix with cuSPARSELt and counts the bytes that differ from the file's. */
const COMPARE = `
import json, sys
import numpy as np
import torch

TYPES = {"F16": torch.float16, "BF16": torch.bfloat16}
wrong = 0
for name, dtype, rows, cols in json.load(open("cases.json")):
    raw = torch.from_numpy(np.fromfile(name + ".dense", np.uint8))
    dense = raw.view(TYPES[dtype]).reshape(rows, cols).cuda()
    own = torch._cslt_compress(dense).view(torch.uint8).flatten().cpu().numpy()
    packed = np.fromfile(name + ".packed", np.uint8)
    count = int((own != packed).sum()) if own.size == packed.size else max(own.size, packed.size)
    wrong += count > 0
    sizes = f"{own.size} and {packed.size} bytes"
    print(f"{'equal  ' if count == 0 else 'DIFFERS'} {dtype} [{rows}, {cols}]: {sizes}, {count} differ")
print(torch.cuda.get_device_name(), "cuSPARSELt", torch.backends.cusparselt.version())
sys.exit(wrong > 0)
`;

async function compareBytes(seconds: number): Promise<Verdict> {
  const { status, stdout, stderr } = spawnSync(PYTHON, ["-c", CAPABILITY], { encoding: "utf8" });
  if (status !== 0)
    return { skipped: `${PYTHON} has no torch (${stderr.trim().split("\n").at(-1)})` };
  const layoutName = LAYOUTS[stdout.trim()];
  if (!layoutName)
    return { skipped: stdout.trim().replace(/^(\d+)$/, "no layout for capability $1.x") };
  const layout = findLayout(layoutName);
  const folder = mkdtempSync(join(tmpdir(), "penjing-cusparselt-"));
  try {
    const cases: (string | number)[][] = [];
    for (const dtype of DTYPES) {
      for (const [rows, cols] of SHAPES) {
        const options = { least: 2, seed: rows + cols };
        const { weight, bytes } = sparseMatrix(dtype, rows, cols, options);
        // A cleared bit of the exponent makes every value finite.
        for (let i = 1; i < bytes.length; i += 2) bytes[i] &= 0xbf;
        const [part] = layout.pack(weight, bytes).values();
        const name = join(folder, `${dtype}-${rows}-${cols}`);
        writeFileSync(`${name}.dense`, bytes);
        writeFileSync(`${name}.packed`, part);
        cases.push([name, dtype, rows, cols]);
      }
    }
    writeFileSync(join(folder, "cases.json"), JSON.stringify(cases));
    const program = COMPARE.replace('"cases.json"', JSON.stringify(join(folder, "cases.json")));
    return await show(PYTHON, ["-c", program], seconds);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const STEPS: readonly Step[] = [
  {
    name: "models, layers and kernels on the adapter",
    limit: 150,
    run: (seconds) =>
      runTests(
        ["webgpu/", "backends/gemm", "backends/form", "backends/two-four", "backends/integer"],
        seconds,
      ),
  },
  {
    name: "the page and the portable build in Chromium",
    limit: 90,
    run: async (seconds) =>
      findChromium()
        ? runTests(["runtimes/chromium", "browser/page"], seconds)
        : { skipped: NO_CHROMIUM },
  },
  { name: "cuSPARSELt's bytes", limit: 60, run: compareBytes },
  { name: "bench:gpu", limit: 150, run: (seconds) => show(process.execPath, [BENCH], seconds) },
  {
    name: "bench:gpu of codes",
    limit: 120,
    run: (seconds) => show(process.execPath, [BENCH, "--codes"], seconds),
  },
];

/** The adapter, where it is not software. */
async function findAdapter(): Promise<string | undefined> {
  const adapter = await (await findGpu()).requestAdapter({ powerPreference: "high-performance" });
  return adapter && !isSoftware(adapter.info) ? nameOf(adapter.info) : undefined;
}

/** What a step comes to that cannot even be run. */
function failed(error: unknown): Verdict {
  console.error(error);
  return "FAILED";
}

const adapter = await findAdapter().catch(() => undefined);
if (!adapter) {
  console.error(
    "No GPU is at hand: WebGPU finds no adapter, or a software one; see docs/runtimes.md.",
  );
  process.exit(1);
}
console.log(`adapter: ${adapter}`);
const lines: string[] = [];
for (const { name, limit, run } of STEPS) {
  const seconds = Math.min(limit, secondsLeft());
  console.log(`\n== ${name}`);
  const verdict = seconds > 1 ? await run(seconds).catch(failed) : "out of time";
  const isSkipped = typeof verdict === "object";
  lines.push(isSkipped ? `skipped: ${name} (${verdict.skipped})` : `${verdict}: ${name}`);
  if (!isSkipped && verdict !== "ok") process.exitCode = 1;
}
console.log(`\n${lines.join("\n")}\n${((performance.now() - began) / 1000).toFixed(0)} s`);
process.exit();
