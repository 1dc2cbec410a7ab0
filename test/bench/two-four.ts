import type { Backend, TwoFourMatrix } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import type { Tensor } from "../../src/tensor.js";
import { type BenchOptions, type Figure, medians } from "./measure.js";

/** More bytes of weights than caches hold, so that they come from memory as in a whole model. */
const WEIGHT_BYTES = 32 * 2 ** 20;

function random(size: number): Float32Array {
  return Float32Array.from({ length: size }, () => Math.random() - 0.5);
}

/** The same random 2:4 matrix [n, n] dense and prepared, as often as it takes to leave the cache. */
async function weights(backend: Backend, n: number) {
  const dense = random(n * n);
  for (let at = 0; at < dense.length; at += 4) {
    const first = Math.floor(Math.random() * 4);
    const second = (first + 1 + Math.floor(Math.random() * 3)) % 4;
    for (let i = 0; i < 4; i++) if (i !== first && i !== second) dense[at + i] = 0;
  }
  const values = backend.zeros([n, n / 2]);
  const indices = backend.zeros([n, n / 8], "u8");
  await backend.ops.packTwoFour(backend.upload(dense, [n, n]), values, indices);
  const copies = Math.max(1, Math.ceil(WEIGHT_BYTES / (4 * n * n)));
  const matrices: { readonly dense: Tensor; readonly sparse: TwoFourMatrix }[] = [];
  for (let i = 0; i < copies; i++) {
    const sparse = backend.ops.prepareTwoFour(values, indices, n);
    matrices.push({ dense: backend.upload(dense, [n, n]), sparse });
  }
  return matrices;
}

/** Products with a 2:4 matrix beside the same products with it dense. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const turns = quick ? { rounds: 5, seconds: 0.05 } : { rounds: 15, seconds: 0.15 };
  const figures: Figure[] = [];
  for (const n of quick ? [1024] : [1024, 4096]) {
    const backend = await openWasm({ threads: 1 });
    const matrices = await weights(backend, n);
    let next = 0;
    const matrix = () => matrices[next++ % matrices.length];
    for (const tokens of quick ? [1, 4, 32] : [1, 2, 4, 8, 16, 32, 128, 512]) {
      const x = backend.upload(random(tokens * n), [tokens, n]);
      const out = backend.zeros([tokens, n]);
      const seconds = medians(
        {
          dense: () => backend.ops.linear(x, matrix().dense, out),
          sparse: () => backend.ops.twoFourLinear(x, matrix().sparse, out),
        },
        turns,
      );
      figures.push({
        name: `twoFourLinear ${tokens} x ${n} x ${n}`,
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
