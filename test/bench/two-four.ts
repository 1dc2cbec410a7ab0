import { openWasm } from "../../src/backends/wasm.js";
import { randomValues } from "./contenders.js";
import { type BenchOptions, type Figure, medians } from "./measure.js";
import { openPeak } from "./peak.js";
import { FORMATS, type Format, sparseWeights, WEIGHT_BYTES } from "./two-four-cases.js";

const TOKENS = [1, 2, 4, 8, 16, 32, 128, 512];
/** Sizes, formats and tokens. */
const CASES: readonly (readonly [number, Format, readonly number[]])[] = [
  [1024, "f32", TOKENS],
  ...FORMATS.map((format) => [4096, format, format === "f32" ? TOKENS : [1, 4, 32]] as const),
];
const QUICK_CASES = FORMATS.map((format) => [1024, format, [1, 4, 32]] as const);

/** Products with a 2:4 matrix beside the same products with it dense, in the same format. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const { gauge } = await openPeak();
  const turns = quick ? { rounds: 5, seconds: 0.05 } : { rounds: 25, seconds: 0.04 };
  const figures: Figure[] = [];
  for (const [n, format, counts] of quick ? QUICK_CASES : CASES) {
    const backend = await openWasm({ threads: 1 });
    const matrices = await sparseWeights(backend, n, format, WEIGHT_BYTES);
    let next = 0;
    const matrix = () => matrices[next++ % matrices.length];
    for (const tokens of counts) {
      const x = backend.upload(randomValues(tokens * n), [tokens, n]);
      const out = backend.zeros([tokens, n]);
      const seconds = medians(
        {
          dense: () => backend.ops.multiply(x, matrix().dense, out),
          sparse: () => backend.ops.multiply(x, matrix().sparse, out),
        },
        { ...turns, gauge },
      );
      figures.push({
        name: `twoFourLinear ${format} ${tokens} x ${n} x ${n}`,
        value: seconds.sparse * 1e3,
        unit: "ms",
        ratio: seconds.sparse / seconds.dense,
        against: "linear's time",
      });
      x.dispose();
      out.dispose();
    }
    backend.dispose();
  }
  return figures;
}
