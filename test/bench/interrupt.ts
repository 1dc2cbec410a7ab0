import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { COMMANDS, checkEnd, interrupt } from "../cli/interrupt.js";
import { Inputs } from "../cli/interrupt-inputs.js";
import { hasWebGpu } from "../webgpu/adapter.js";
import { type Figure, median } from "./figures.js";
import type { BenchOptions } from "./measure.js";

/** Moments of each command. */
const MOMENTS = { quick: 4, full: 16 };

/** Milliseconds from Ctrl-C to the exit, by command and phase: the median, and the worst. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), "penjing-interrupt-"));
  const inputs = new Inputs(folder);
  const out = join(folder, "out");
  const moments = quick ? MOMENTS.quick : MOMENTS.full;
  const figures: Figure[] = [];
  const all: number[] = [];
  try {
    for (const { name, args, span, isOnGpu = false } of COMMANDS) {
      if (isOnGpu && !hasWebGpu) continue;
      const own = await args(inputs, out);
      const times = new Map<string, number[]>();
      for (let i = 0; i < moments; i++) {
        const reaction = await interrupt(own, (span * (i + 0.5)) / moments);
        if (!reaction) {
          // It had ended before.
          rmSync(out, { recursive: true, force: true });
          continue;
        }
        checkEnd(reaction, name, out);
        const { phase, milliseconds } = reaction;
        times.set(phase, [...(times.get(phase) ?? []), milliseconds]);
        all.push(milliseconds);
      }
      for (const [phase, found] of times) figures.push(...figuresOf(`${name}: ${phase}`, found));
    }
    return [...figures, ...figuresOf("all", all)];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function figuresOf(name: string, times: readonly number[]): Figure[] {
  return [
    { name, by: `median of ${times.length}`, value: median(times), unit: "ms" },
    { name, by: "worst", value: Math.max(...times), unit: "ms" },
  ];
}
