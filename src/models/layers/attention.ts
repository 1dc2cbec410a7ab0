import { attentionWork } from "../../backends/operations/attention.js";
import type { AttentionSpec, NormSpec, RopeSpec, Site } from "../../model.js";
import { stepRanges } from "../../steps.js";
import { rowsOf, type Tensor } from "../../tensor.js";
import type { LayerKind, LayerRun } from "./layer.js";
import { normalise } from "./norm.js";

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

/** Angles of the rotary embedding for each pair of elements, in radians per position. */
export function ropeFrequencies(rope: RopeSpec, headDim: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => {
    const frequency = rope.theta ** ((-2 * i) / headDim);
    if (!rope.llama3) return frequency;
    const { factor, lowFreqFactor, highFreqFactor, originalContext } = rope.llama3;
    const turns = (originalContext * frequency) / (2 * Math.PI);
    // 0 for wavelengths that are stretched in full, 1 for those left alone, between them a blend.
    const blend = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    const kept = Math.min(1, Math.max(0, blend));
    return frequency * (kept + (1 - kept) / factor);
  });
}

/** Tells tables of angles apart; by the layer, since every token asks for it. */
const turnKeys = new WeakMap<AttentionSpec, string>();

function turnKey(spec: AttentionSpec): string {
  const key = turnKeys.get(spec) ?? JSON.stringify(["rope", spec.rope, spec.headDim]);
  turnKeys.set(spec, key);
  return key;
}

/** Cosines and sines of the angles of each position, [maxPositions, headDim / 2] each. */
function turnsOf(
  spec: AttentionSpec,
  { backend, maxPositions, constants }: LayerRun,
): readonly Tensor[] {
  return constants(turnKey(spec), () => {
    const { rope, headDim } = spec;
    const frequencies = ropeFrequencies(rope, headDim);
    const half = frequencies.length;
    const table = (f: (angle: number) => number) =>
      backend.upload(
        Float32Array.from({ length: maxPositions * half }, (_, i) =>
          f(Math.floor(i / half) * frequencies[i % half]),
        ),
        [maxPositions, half],
      );
    return [table(Math.cos), table(Math.sin)];
  });
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
    const [cos, sin] = turnsOf(spec, run);
    const length = tokens / sequences;
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
