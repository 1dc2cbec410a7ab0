import type { Backend } from "../../src/backend.js";
import type { AttentionOptions } from "../../src/backends/operations/attention.js";
import { hasRelaxedSimd } from "../../src/backends/wasm/module.js";
import { openWasm } from "../../src/backends/wasm.js";
import { randomValues } from "./contenders.js";
import { type BenchOptions, type Figure, medians } from "./measure.js";
import { openPeak } from "./peak.js";

/** Heads of models by what these are called. */
const SHAPES = {
  "SmolLM2-135M": { heads: 9, kvHeads: 3, headDim: 64 },
  "Llama-3-8B": { heads: 32, kvHeads: 8, headDim: 128 },
} as const;

/** Bytes of keys and values in float32 that take turns, as those of a model's layers do. */
const ROTATED_BYTES = 96 * 2 ** 20;

/** Keys and values of one layer, as floats and as codes. */
function layerOf(backend: Backend, keys: number, { kvHeads, headDim }: AttentionOptions) {
  const width = kvHeads * headDim;
  const [k, v] = ["k", "v"].map(() => {
    const floats = backend.upload(randomValues(keys * width), [keys, width]);
    const [codes, scales] = [backend.zeros([keys, width], "u8"), backend.zeros([keys, kvHeads])];
    backend.ops.roundHeads(floats, codes, scales);
    return { floats, codes, scales };
  });
  return { k, v };
}

/** Attention over keys and values of int8 beside that over floats, in one layer after another, by one thread. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const { gauge } = await openPeak();
  const turns = quick ? { rounds: 3, seconds: 0.03 } : { rounds: 15, seconds: 0.05 };
  const figures: Figure[] = [];
  for (const simd of hasRelaxedSimd()
    ? (["baseline", "relaxed"] as const)
    : (["baseline"] as const)) {
    for (const [name, options] of Object.entries(SHAPES)) {
      for (const keys of quick ? [256] : [1024, 8192]) {
        const backend = await openWasm({ threads: 1, simd });
        const { heads, kvHeads, headDim } = options;
        const bytes = 8 * keys * kvHeads * headDim;
        const count = quick ? 1 : Math.max(1, Math.round(ROTATED_BYTES / bytes));
        const layers = Array.from({ length: count }, () => layerOf(backend, keys, options));
        let next = 0;
        const layer = () => layers[next++ % layers.length];
        for (const queries of [1, 128]) {
          const width = heads * headDim;
          const q = backend.upload(randomValues(queries * width), [queries, width]);
          const out = backend.zeros([queries, width]);
          const seconds = medians(
            {
              float: () => {
                const { k, v } = layer();
                backend.ops.attention(q, k.floats, v.floats, out, options);
              },
              int8: () => {
                const { k, v } = layer();
                const [keys, values] = [[k.codes, k.scales] as const, [v.codes, v.scales] as const];
                backend.ops.roundedAttention(q, ...keys, ...values, out, options);
              },
            },
            { ...turns, gauge },
          );
          figures.push({
            name: `${name}, ${queries} of ${keys} tokens, ${simd}`,
            value: seconds.int8 * 1e3,
            unit: "ms",
            ratio: seconds.float / seconds.int8,
            against: "the rate of float",
          });
          for (const tensor of [q, out]) tensor.dispose();
        }
        backend.dispose();
      }
    }
  }
  return figures;
}
