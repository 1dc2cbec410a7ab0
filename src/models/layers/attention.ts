import { attentionWork } from "../../backends/operations/attention.js";
import type { AttentionSpec, NormSpec, Site } from "../../model.js";
import { stepRanges } from "../../steps.js";
import { rowsOf, type Tensor } from "../../tensor.js";
import type { LayerKind } from "./layer.js";
import { normalise } from "./norm.js";
import { ropeTables } from "./rope.js";

export interface AttentionOptions
  extends Pick<AttentionSpec, "heads" | "kvHeads" | "headDim" | "rope" | "window"> {
  readonly hiddenSize: number;
  /** Of the norms of queries and keys. */
  readonly epsilon: number;
  readonly biases: { readonly qkv: boolean; readonly o: boolean };
  /** RMSNorm over each head's queries and keys. */
  readonly qkNorm: boolean;
}

/** @param prefix of the sites' names, such as "self_attn" */
export function attention(prefix: string, options: AttentionOptions): AttentionSpec {
  const { hiddenSize, heads, kvHeads, headDim, rope, window, epsilon, biases } = options;
  const [input, output] = [`${prefix}.q_proj`, `${prefix}.o_proj`];
  const inner = (name: string, count: number, writes: Site["writes"]): Site => ({
    name: `${prefix}.${name}`,
    shape: [count * headDim, hiddenSize],
    input,
    reads: "stream",
    writes,
    bias: biases.qkv,
  });
  const norm = (name: string): NormSpec => ({
    kind: "rms",
    name: `${prefix}.${name}`,
    width: headDim,
    epsilon,
  });
  return {
    kind: "attention",
    ...{ heads, kvHeads, headDim, rope, window },
    norms: options.qkNorm ? { q: norm("q_norm"), k: norm("k_norm") } : {},
    sites: {
      q: { ...inner("q_proj", heads, "heads"), roped: true },
      k: { ...inner("k_proj", kvHeads, "kv-heads"), roped: true },
      v: inner("v_proj", kvHeads, "kv-heads"),
      o: {
        name: output,
        input: output,
        shape: [hiddenSize, heads * headDim],
        reads: "heads",
        writes: "stream",
        bias: biases.o,
      },
    },
  };
}

export const attentionKind: LayerKind<AttentionSpec> = {
  scratch: ({ sites: { q, k, v } }) => ({
    q: q.shape[0],
    k: k.shape[0],
    v: v.shape[0],
    mixed: q.shape[0],
  }),
  *forward(spec, x, run) {
    const { backend, layer, cache, sequences } = run;
    const { ops } = backend;
    const { sites, norms, heads, kvHeads, headDim, window } = spec;
    const tokens = rowsOf(x);
    const start = cache?.length ?? 0;
    const [width, kvWidth] = [heads * headDim, kvHeads * headDim];
    const q = run.scratch("q", width);
    const mixed = run.scratch("mixed", width);
    const [k, v] = cache
      ? [cache.keys, cache.values].map((all) => backend.rows(all[layer], start, tokens))
      : [run.scratch("k", kvWidth), run.scratch("v", kvWidth)];
    yield* run.multiply(sites.q, x, q);
    yield* run.multiply(sites.k, x, k);
    yield* run.multiply(sites.v, x, v);
    if (norms.q) normalise(backend, norms.q, q, run.norms[norms.q.name], q);
    if (norms.k) normalise(backend, norms.k, k, run.norms[norms.k.name], k);

    const shape = { heads, kvHeads, headDim, window };
    const length = tokens / sequences;
    const [cos, sin] = ropeTables(spec, start + length, run);
    for (let s = 0; s < sequences; s++) {
      const part = (tensor: Tensor) => backend.rows(tensor, s * length, length);
      ops.rope(part(q), cos, sin, start);
      ops.rope(part(k), cos, sin, start);
      const work = attentionWork(start + length, shape);
      for (const { first, count } of stepRanges(backend, length, work)) {
        const some = (tensor: Tensor) => backend.rows(tensor, s * length + first, count);
        const seen = (now: Tensor, all: readonly Tensor[] | undefined) =>
          all
            ? backend.rows(all[layer], 0, start + first + count)
            : backend.rows(now, s * length, first + count);
        const [keys, values] = [seen(k, cache?.keys), seen(v, cache?.values)];
        ops.attention(some(q), keys, values, some(mixed), shape);
        yield;
      }
    }
    yield* run.multiply(sites.o, mixed, x);
  },
};
