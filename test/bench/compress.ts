import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createOutputFolder } from "../../src/platform/files.js";
import { hasShared, repositoryRoot, sharedPath } from "../shared.js";
import type { Cost } from "./child/compress-once.js";
import type { BenchOptions, Figure } from "./measure.js";
import { writeSynthetic } from "./synthetic.js";

const EMBEDDED = join(repositoryRoot, "examples", "stories-1m");
const CHILD = fileURLToPath(new URL("child/compress-once.js", import.meta.url));

/** SparseGPT 2:4 from end to end, in a process of its own. */
function compressOnce(model: string, calibration: string, out: string, samples: number): Cost {
  const args = [CHILD, model, calibration, out, String(samples)];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

const megabytes = (bytes: number) => bytes / 1e6;

/**
 * Compression from end to end: seconds and peak memory of each small model with 128 windows of 256
 * tokens, and how the memory changes when the number of layers doubles.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), "penjing-bench-"));
  const figures: Figure[] = [];
  try {
    const calibration = join(EMBEDDED, "calibration.txt");
    const models = [{ name: "stories-1m", path: EMBEDDED, text: calibration }];
    if (hasShared()) {
      const text = sharedPath("data", "tinystories", "train-slice.txt");
      for (const name of ["stories260k", "tinystories-656k"]) {
        models.push({ name, path: sharedPath("models", name), text });
      }
    }
    for (const { name, path, text } of models) {
      const cost = compressOnce(path, text, join(folder, name), quick ? 16 : 128);
      figures.push({ name, value: cost.seconds, unit: "s" });
      const resident = megabytes(cost.peakResidentBytes);
      figures.push({ name: `${name} resident`, value: resident, unit: "MB" });
    }
    const [width, samples] = quick ? [256, 4] : [512, 16];
    const costs: Cost[] = [];
    for (const layers of [4, 8]) {
      const path = join(folder, `random-${layers}`);
      await writeSynthetic(await createOutputFolder(path), { width, layers });
      costs.push(compressOnce(path, calibration, `${path}-24`, samples));
    }
    for (const [kind, key] of [
      ["resident", "peakResidentBytes"],
      ["tensors", "peakTensorBytes"],
    ] as const) {
      const [half, whole] = costs.map((cost) => cost[key]);
      figures.push({
        name: `width ${width}, 8 layers, ${kind}`,
        value: megabytes(whole),
        unit: "MB",
        ratio: whole / half,
        against: "4 layers",
      });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return figures;
}
