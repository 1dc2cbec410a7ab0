import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { plan } from "../../src/plan.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { repositoryRoot } from "../shared.js";
import type { BenchOptions, Figure } from "./measure.js";
import { type SyntheticSize, writeSynthetic } from "./synthetic.js";

/** Models, and the windows that they are calibrated on. */
const SHAPES: readonly (readonly [SyntheticSize, samples: number, length: number])[] = [
  [{ width: 256, layers: 4, neurons: 704 }, 64, 128],
  [{ width: 512, layers: 2, neurons: 1408 }, 16, 256],
  [{ width: 512, layers: 2, neurons: 2048, kvHeads: 4 }, 4, 256],
  [{ width: 384, layers: 3, neurons: 1536 }, 32, 256],
  [{ width: 768, layers: 2, neurons: 1536, kvHeads: 4, dtype: "BF16" }, 16, 256],
  [{ width: 1024, layers: 1, neurons: 2816, dtype: "BF16" }, 8, 512],
];

/** What `plan` tells beside what runs on two threads take: memory in the WebAssembly memory, and seconds. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const text = readFileSync(
    join(repositoryRoot, "examples", "stories-1m", "calibration.txt"),
    "utf8",
  );
  const figures: Figure[] = [];
  for (const [size, samples, length] of SHAPES.slice(0, quick ? 1 : undefined)) {
    const made = memoryOutputFolder();
    await writeSynthetic(made, size);
    const open = () => openCheckpoint(memoryFolder(made.files));
    for (const method of ["sparsegpt", "wanda", "magnitude"] as const) {
      const recipe = { method, samples, length };
      const planned = await plan({ model: await open(), recipe, threads: 2 });
      const { peakTensorBytes, seconds } = await compress({
        ...{ model: await open(), out: memoryOutputFolder(), recipe, calibration: text },
        ...{ backend: "wasm", threads: 2 },
      }).result();
      const name = `width ${size.width}, ${samples} x ${length}`;
      figures.push(
        {
          ...{ name: `${name}: memory`, by: method, value: planned.memory.wasm / 2 ** 20 },
          ...{ unit: "MiB", ratio: planned.memory.wasm / peakTensorBytes, against: "a run" },
        },
        {
          ...{ name: `${name}: time`, by: method, value: planned.seconds!, unit: "s" },
          ...{ ratio: planned.seconds! / seconds, against: "a run" },
        },
      );
    }
  }
  return figures;
}
