import type { Backend } from "../../src/backend.js";
import type { PreparedMatrix } from "../../src/backends/operations/form.js";
import { hasRelaxedSimd } from "../../src/backends/wasm/module.js";
import { openWasm } from "../../src/backends/wasm.js";
import type { Form, Numbers } from "../../src/form.js";
import type { Tensor } from "../../src/tensor.js";
import { randomValues } from "./contenders.js";
import { type BenchOptions, type Figure, medians } from "./measure.js";
import { openPeak } from "./peak.js";

/** Grids by what they are called. */
const GRIDS: Readonly<Record<string, Numbers>> = {
  "int8 row": { kind: "grid", bits: 8, symmetric: true },
  "int8 g32": { kind: "grid", bits: 8, symmetric: true, groupSize: 32 },
  "int4 g32": { kind: "grid", bits: 4, symmetric: true, groupSize: 32 },
  "int4 g128": { kind: "grid", bits: 4, symmetric: true, groupSize: 128 },
  "int4 g32 with zeros": { kind: "grid", bits: 4, symmetric: false, groupSize: 32 },
};

/** Bytes of matrices that take turns, so that each product reads its own from memory. */
const ROTATED_BYTES = 256 * 2 ** 20;

/** A matrix of codes, the same whenever it is asked for, multiplied by activations of int8. */
function codesOf(backend: Backend, n: number, numbers: Numbers): Promise<PreparedMatrix> {
  if (numbers.kind !== "grid") throw new Error("no grid");
  const { bits, groupSize = n } = numbers;
  const groups = Math.ceil(n / groupSize);
  const bytes = (size: number) => {
    const codes = new Uint8Array(size);
    for (let i = 0; i < size; i++) codes[i] = (i * 37) % 2 ** bits;
    return codes;
  };
  const parts = new Map<string, Tensor>([
    ["values", backend.upload(bytes(n * n), [n, n])],
    ["scales", backend.upload(randomValues(n * groups), [n, groups])],
  ]);
  if (!numbers.symmetric) parts.set("zeros", backend.upload(bytes(n * groups), [n, groups]));
  const form: Form = { kind: "leaf", structure: { kind: "dense" }, shape: [n, n], numbers, parts };
  const prepared = backend.ops.prepare(form, { activations: "int8" });
  return prepared.finally(() => {
    for (const part of parts.values()) part.dispose();
  });
}

/** What gives matrices in turn: one where they shall stay in a cache. */
async function inTurn<T>(
  make: () => Promise<T>,
  bytesOf: (matrix: T) => number,
  isCached: boolean,
) {
  const matrices = [await make()];
  const count = isCached ? 1 : Math.ceil(ROTATED_BYTES / bytesOf(matrices[0]));
  while (matrices.length < count) matrices.push(await make());
  let next = 0;
  return () => matrices[next++ % matrices.length];
}

/** Products of codes with int8 activations beside those of the same matrix in f32, by one thread. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const { gauge } = await openPeak();
  const turns = quick ? { rounds: 5, seconds: 0.03 } : { rounds: 15, seconds: 0.04 };
  const figures: Figure[] = [];
  const cases: readonly (readonly [number, boolean, readonly number[]])[] = quick
    ? [[512, true, [1, 16]]]
    : [
        [4096, false, [1]],
        [512, true, [1, 128]],
      ];
  for (const simd of hasRelaxedSimd()
    ? (["baseline", "relaxed"] as const)
    : (["baseline"] as const)) {
    for (const [n, isCached, counts] of cases) {
      for (const [name, numbers] of Object.entries(GRIDS)) {
        const backend = await openWasm({ threads: 1, simd });
        const values = randomValues(n * n);
        const floats = async () => backend.upload(values, [n, n]);
        const dense = await inTurn(floats, () => 4 * n * n, isCached);
        const codes = await inTurn(
          () => codesOf(backend, n, numbers),
          ({ bytes }) => bytes,
          isCached,
        );
        for (const tokens of counts) {
          const x = backend.upload(randomValues(tokens * n), [tokens, n]);
          const out = backend.zeros([tokens, n]);
          const seconds = medians(
            {
              dense: () => backend.ops.multiply(x, dense(), out),
              codes: () => backend.ops.multiply(x, codes(), out),
            },
            { ...turns, gauge },
          );
          figures.push({
            name: `${name}, ${tokens} x ${n} x ${n}${isCached ? ", in a cache" : ""}, ${simd}`,
            value: seconds.codes * 1e3,
            unit: "ms",
            ratio: seconds.dense / seconds.codes,
            against: "the rate of f32",
          });
          for (const tensor of [x, out]) tensor.dispose();
        }
        backend.dispose();
      }
    }
  }
  return figures;
}
