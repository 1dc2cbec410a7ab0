import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { evaluateTasks } from "../../src/evaluate-tasks.js";
import { askProgram, hasModules } from "../oracles/oracles.js";
import { zeroshotFiles } from "../tasks/zeroshot.js";
import { hasYardstick, yardstickPath } from "../yardstick.js";
import { availableModes } from "./contenders.js";
import type { BenchOptions, Figure } from "./measure.js";

/**
 * The five zero-shot tasks on SmolLM2-135M beside lm-evaluation-harness (PyTorch, float32, batches of 8), each
 * from the opening of the model on, on all cores: ours before and after it. Needs ../shared, the model, and what
 * test/oracles/install.mjs installs.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  if (!hasYardstick() || !hasModules("lm_eval")) return [];
  const limit = quick ? 4 : 40;
  const folder = mkdtempSync(join(tmpdir(), "penjing-bench-tasks-"));
  try {
    const files = zeroshotFiles(folder, limit);
    const model = yardstickPath("smollm2");
    const times = new Map<string, number[]>();
    let share = 0;
    const measure = async () => {
      for (const simd of availableModes()) {
        const tasks = Object.keys(files);
        const options = { model, tasks, files, limit, backend: "wasm", simd } as const;
        const { seconds, tokens, tokensAlone } = await evaluateTasks(options).result();
        times.set(simd, [...(times.get(simd) ?? []), seconds]);
        share = tokens / tokensAlone;
      }
    };
    await measure();
    const question = { model, data: files, limit, threads: availableParallelism() };
    const { seconds: theirs } = askProgram(question, "tasks", "lm-eval.py") as { seconds: number };
    await measure();
    const what = `${limit} rows of each task`;
    return [
      { name: what, by: "lm-evaluation-harness", value: theirs, unit: "s" },
      ...availableModes().map((simd): Figure => {
        const value = times.get(simd)!.reduce((sum, one) => sum + one, 0) / 2;
        const ratio = value / theirs;
        return { name: what, by: simd, value, unit: "s", ratio, against: "lm-evaluation-harness" };
      }),
      { name: "tokens through the model, of those of each choice alone", value: share, unit: "" },
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
