import {
  KL_RATIOS,
  largestRatio,
  type Measured,
  measure,
  REFINED,
  ROWS,
  type Row,
  type RowName,
  SAMPLES,
  type Sample,
} from "../quantizers/acceptance.js";
import type { BenchOptions, Figure } from "./measure.js";

/** A figure and the largest that it may be. */
function bounded(name: string, value: number, unit: string, most: number): Figure {
  return { name, value, unit, ratio: value / most, against: `at most ${most.toPrecision(3)}` };
}

/** What quantizing costs the embedded model beside its bounds, on three calibration samples. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const samples = (Object.keys(SAMPLES) as Sample[]).slice(0, quick ? 1 : undefined);
  const names = (Object.keys(ROWS) as RowName[]).slice(0, quick ? 1 : undefined);
  const figures: Figure[] = [];
  for (const sample of samples) {
    const known = new Map<RowName, Measured>();
    const name = (what: string) => `${what} (${sample})`;
    for (const row of names) {
      const { kl, ratio }: Row = ROWS[row];
      const found = await measure(ROWS[row], sample);
      known.set(row, found);
      const { kl: divergence, ratio: perplexity, meanError } = found;
      console.error(
        `${name(row)}: KL ${divergence.toFixed(5)}, ratio ${perplexity.toFixed(4)}, mean layer error ${meanError.toFixed(5)}`,
      );
      const divergenceName = name(`${row}: KL`);
      figures.push(
        kl === undefined
          ? { name: divergenceName, value: divergence, unit: "nats" }
          : bounded(divergenceName, divergence, "nats", kl),
        ratio === undefined
          ? { name: name(`${row}: perplexity`), value: perplexity, unit: "of dense" }
          : bounded(name(`${row}: perplexity`), perplexity, "of dense", ratio),
      );
    }
    for (const [row, of, most] of quick ? [] : KL_RATIOS) {
      const ratio = known.get(row)!.kl / known.get(of)!.kl;
      figures.push(bounded(name(`${row}: KL`), ratio, `of ${of}`, most));
    }
    if (quick) continue;
    const [rtn, gptq, unrefined] = (["rtn 4", "gptq 4", "gptq 4, no refine"] as const).map(
      (row) => known.get(row)!,
    );
    figures.push(
      bounded(name("gptq 4: largest layer error"), largestRatio(gptq, rtn), "of rtn's", 1),
      bounded(
        name("gptq 4: mean layer error"),
        gptq.meanError / unrefined.meanError,
        "of that without refine",
        REFINED,
      ),
    );
  }
  return figures;
}
