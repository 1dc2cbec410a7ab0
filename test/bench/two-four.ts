import type { Backend, DenseMatrix, TwoFourMatrix, WeightOptions } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import type { Tensor } from "../../src/tensor.js";
import { randomValues } from "./contenders.js";
import { type BenchOptions, type Figure, medians } from "./measure.js";
import { openPeak } from "./peak.js";

/** More bytes of weights than caches hold, so that they come from memory as in a whole model. */
const WEIGHT_BYTES = 32 * 2 ** 20;
const FORMATS = ["f32", "f16", "bf16", "int8"] as const;
type Format = (typeof FORMATS)[number];

/** A random 2:4 matrix [n, n]. */
function randomTwoFour(n: number): Float32Array {
  const dense = randomValues(n * n);
  for (let at = 0; at < dense.length; at += 4) {
    const first = Math.floor(Math.random() * 4);
    const second = (first + 1 + Math.floor(Math.random() * 3)) % 4;
    for (let i = 0; i < 4; i++) if (i !== first && i !== second) dense[at + i] = 0;
  }
  return dense;
}

/** Runs `use` with f32 weights in a format, which need not outlive it. */
async function inFormat<T>(
  backend: Backend,
  format: Format,
  floats: Tensor,
  use: (weights: Tensor, options: WeightOptions) => T,
): Promise<T> {
  if (format === "f32") return use(floats, {});
  if (format === "int8") {
    const bytes = Int8Array.from((await backend.read(floats)) as Float32Array, (w) => 254 * w);
    const weights = backend.upload(new Uint8Array(bytes.buffer), floats.shape);
    const scales = backend.upload(new Float32Array(floats.shape[0]).fill(1 / 254), [
      floats.shape[0],
    ]);
    const made = use(weights, { scales });
    weights.dispose();
    scales.dispose();
    return made;
  }
  const bits = backend.zeros(floats.shape, "u16");
  backend.ops.narrow(floats, bits, format);
  const made = use(bits, { format });
  bits.dispose();
  return made;
}

interface Weights {
  readonly dense: Tensor | DenseMatrix;
  readonly sparse: TwoFourMatrix;
}

/** The same random 2:4 matrix [n, n] dense and packed, as often as it takes to leave the cache. */
async function weights(backend: Backend, n: number, format: Format): Promise<Weights[]> {
  const floats = randomTwoFour(n);
  const whole = backend.upload(floats, [n, n]);
  const values = backend.zeros([n, n / 2]);
  const indices = backend.zeros([n, n / 8], "u8");
  await backend.ops.packTwoFour(whole, values, indices);
  const { prepareLinear, prepareTwoFour } = backend.ops;
  const made: Weights[] = [];
  let bytes = 0;
  while (bytes < WEIGHT_BYTES) {
    const dense =
      format === "f32"
        ? backend.upload(floats, [n, n])
        : await inFormat(backend, format, whole, (weight, options) =>
            prepareLinear(weight, options),
          );
    const sparse = await inFormat(backend, format, values, (kept, options) =>
      prepareTwoFour(kept, indices, n, options),
    );
    made.push({ dense, sparse });
    bytes += 2 * sparse.bytes;
  }
  return made;
}

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
    const matrices = await weights(backend, n, format);
    let next = 0;
    const matrix = () => matrices[next++ % matrices.length];
    for (const tokens of counts) {
      const x = backend.upload(randomValues(tokens * n), [tokens, n]);
      const out = backend.zeros([tokens, n]);
      const seconds = medians(
        {
          dense: () => backend.ops.linear(x, matrix().dense, out),
          sparse: () => backend.ops.twoFourLinear(x, matrix().sparse, out),
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
