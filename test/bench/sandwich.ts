import type { Backend } from "../../src/backend.js";
import type { PreparedMatrix } from "../../src/backends/operations/form.js";
import { openWasm } from "../../src/backends/wasm.js";
import { blocksLeaf, twoFourLeaf } from "../../src/forms/leaf.js";
import type { Tensor } from "../../src/tensor.js";
import { randomValues } from "./contenders.js";
import { type Figure, median } from "./figures.js";
import type { BenchOptions } from "./measure.js";

/** More bytes of weights than a core's caches hold, so that they come from memory as in a model. */
const WEIGHT_BYTES = 64 * 2 ** 20;
const BLOCKS = [8, 32, 128] as const;

const SHAPES: readonly (readonly [number, number])[] = [
  [1024, 1024],
  [4096, 1024],
  [1024, 4096],
  [2048, 2048],
];

/** One layer in the forms that are compared; the dense one has other values. */
interface Layer {
  readonly dense: Tensor;
  readonly core: PreparedMatrix;
  readonly sandwiches: readonly PreparedMatrix[];
}

/** Layers of random weights, as many as it takes to leave the caches. */
async function layers(backend: Backend, rows: number, cols: number): Promise<Layer[]> {
  const values = backend.upload(randomValues((rows * cols) / 2), [rows, cols / 2]);
  // Codes of two columns out of four: first | second << 2, and two of them a byte.
  const codes = [4, 8, 9, 12, 13, 14];
  const code = () => codes[Math.floor(Math.random() * codes.length)];
  const bytes = Uint8Array.from({ length: (rows * cols) / 8 }, () => code() | (code() << 4));
  const indices = backend.upload(bytes, [rows, cols / 8]);
  const factor = (side: number, block: number) =>
    blocksLeaf(backend.upload(randomValues(side * block), [side / block, block, block]));
  const core = twoFourLeaf(values, indices, [rows, cols]);
  const packedBytes = 2.125 * rows * cols;
  const made: Layer[] = [];
  for (let i = 0; i < Math.ceil(WEIGHT_BYTES / packedBytes); i++) {
    const sandwiches: PreparedMatrix[] = [];
    for (const block of BLOCKS) {
      const factors = [factor(rows, block), core, factor(cols, block)];
      sandwiches.push(await backend.ops.prepare({ kind: "product", factors }));
      for (const leaf of [factors[0], factors[2]]) leaf.parts.get("values")!.dispose();
    }
    const dense = backend.upload(randomValues(rows * cols), [rows, cols]);
    made.push({ dense, core: await backend.ops.prepare(core), sandwiches });
  }
  return made;
}

/** Times of single calls, the functions taking turns at every call. */
function takeTurns(cases: readonly (() => void)[], rounds: number): Float64Array[] {
  const times = cases.map(() => new Float64Array(rounds));
  // The first rounds run code that is not optimised yet.
  for (let round = -10; round < rounds; round++) {
    for (const [i, run] of cases.entries()) {
      const start = performance.now();
      run();
      if (round >= 0) times[i][round] = (performance.now() - start) / 1000;
    }
  }
  return times;
}

/**
 * A layer compressed by ARMOR, y = A (S (B x)) + bias, beside y = S x + bias and a dense layer. A
 * ratio is the median over rounds of the ratio within a round.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [rows, cols] of quick ? SHAPES.slice(0, 1) : SHAPES) {
    const backend = await openWasm({ threads: 1 });
    const { ops } = backend;
    const all = await layers(backend, rows, cols);
    let next = 0;
    const layer = () => all[next++ % all.length];
    const bias = backend.upload(randomValues(rows), [rows]);
    for (const tokens of quick ? [1, 64] : [1, 8, 64, 256]) {
      const x = backend.upload(randomValues(tokens * cols), [tokens, cols]);
      const out = backend.zeros([tokens, rows]);
      const sandwich = (i: number) => () => {
        ops.multiply(x, layer().sandwiches[i], out, { bias });
      };
      const names = ["2:4", "dense", ...BLOCKS.map((block) => `sandwich, blocks of ${block}`)];
      const cases = [
        () => ops.multiply(x, layer().core, out, { bias }),
        () => ops.multiply(x, layer().dense, out, { bias }),
        ...BLOCKS.map((_, i) => sandwich(i)),
      ];
      // Single products need many samples, and are short.
      const rounds = Math.ceil((quick ? 1e9 : 2e9) / (tokens * rows * cols));
      const times = takeTurns(cases, Math.max(quick ? 10 : 15, rounds));
      for (const [i, name] of names.entries()) {
        figures.push({
          name: `${tokens} x ${cols} -> ${rows} ${name}`,
          value: median(times[i]) * 1e3,
          unit: "ms",
          ...(i > 0 && {
            ratio: median(times[i].map((time, round) => time / times[0][round])),
            against: "2:4's time",
          }),
        });
      }
      for (const tensor of [x, out]) tensor.dispose();
    }
    backend.dispose();
  }
  return figures;
}
