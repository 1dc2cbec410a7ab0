import { attentionWork } from "../../backends/operations/attention.js";
import type { AttentionSpec, FusedAttentionSites, NormSpec, Site } from "../../model.js";
import { stepRanges } from "../../steps.js";
import { rowsOf, type Tensor } from "../../tensor.js";
import type { LayerKind, LayerRun } from "./layer.js";
import { normalise } from "./norm.js";
import { ropeTables } from "./rope.js";
import { seenBy } from "./segments.js";

export interface AttentionOptions
  extends Pick<AttentionSpec, "heads" | "kvHeads" | "headDim" | "rope" | "window" | "scale"> {
  readonly hiddenSize: number;
  /** Of the norms of queries and keys. */
  readonly epsilon: number;
  readonly biases: { readonly qkv: boolean; readonly o: boolean };
  /**
   * RMSNorm over queries and keys: over each head's, or over all heads' at once ("width").
   * @default false
   */
  readonly qkNorm?: boolean | "width" | undefined;
  /** The norms' gains are stored less 1. @default false */
  readonly plusOne?: boolean | undefined;
  /**
   * One linear for queries, keys and values: its outputs are all queries, all keys and all values
   * ("parts"), or those of one head after the other ("heads"). @default three linears
   */
  readonly fused?: "parts" | "heads" | undefined;
  /** Weights are stored as [inFeatures, outFeatures]. @default false */
  readonly transposed?: boolean | undefined;
  /** @default those of Llama: q_proj, k_proj, v_proj and o_proj; qkv_proj */
  readonly names?: Partial<Readonly<Record<"q" | "k" | "v" | "o" | "qkv", string>>> | undefined;
}

/** @param prefix of the sites' names, such as "self_attn" */
export function attention(prefix: string, options: AttentionOptions): AttentionSpec {
  const { hiddenSize, heads, kvHeads, headDim, rope, window, scale } = options;
  const { epsilon, biases, qkNorm = false, plusOne, fused, transposed, names = {} } = options;
  const source = transposed ? { source: { transposed } } : {};
  const nameOf = (role: "q" | "k" | "v" | "o" | "qkv") =>
    `${prefix}.${names[role] ?? `${role}_proj`}`;
  const input = nameOf(fused ? "qkv" : "q");
  const inner = (name: string, count: number, writes: Site["writes"], roped: boolean): Site => ({
    ...{ name, input, writes, roped },
    shape: [count * headDim, hiddenSize],
    reads: "stream",
    bias: biases.qkv,
    ...source,
  });
  const split = (name: (role: "q" | "k" | "v") => string) => ({
    q: inner(name("q"), heads, "heads", true),
    k: inner(name("k"), kvHeads, "kv-heads", true),
    v: inner(name("v"), kvHeads, "kv-heads", false),
  });
  const output = nameOf("o");
  const o: Site = {
    name: output,
    input: output,
    shape: [hiddenSize, heads * headDim],
    reads: "heads",
    writes: "stream",
    bias: biases.o,
    ...source,
  };
  const whole: Site = {
    ...inner(input, heads + 2 * kvHeads, "heads", true),
    ...(fused === "parts" && { parts: Object.values(split((role) => `${input}.${role}`)) }),
  };
  const norm = (name: string, count: number): NormSpec => ({
    kind: "rms",
    name: `${prefix}.${name}`,
    width: qkNorm === "width" ? count * headDim : headDim,
    epsilon,
    ...(plusOne && { plusOne }),
  });
  return {
    kind: "attention",
    ...{ heads, kvHeads, headDim, rope, window },
    ...(scale !== undefined && { scale }),
    norms: qkNorm ? { q: norm("q_norm", heads), k: norm("k_norm", kvHeads) } : {},
    sites: fused ? { qkv: whole, o } : { ...split(nameOf), o },
  };
}

/** Whether queries, keys and values come from one linear, head by head. */
export function isInterleaved({ sites }: AttentionSpec): boolean {
  return "qkv" in sites && sites.qkv.parts === undefined;
}

/** Queries, keys and values of x from one linear. */
function* multiplyFused(
  spec: AttentionSpec,
  { qkv }: FusedAttentionSites,
  x: Tensor,
  [q, k, v]: readonly Tensor[],
  run: LayerRun,
) {
  const { heads, kvHeads, headDim } = spec;
  const all = run.scratch("qkv", qkv.shape[0]);
  yield* run.multiply(qkv, x, all);
  const { takeColumns } = run.backend.ops;
  if (isInterleaved(spec)) {
    const width = headDim;
    for (const [i, part] of [q, k, v].entries()) {
      takeColumns(all, part, { first: i * width, width, stride: 3 * width });
    }
    return;
  }
  let first = 0;
  for (const [part, count] of [
    [q, heads],
    [k, kvHeads],
    [v, kvHeads],
  ] as const) {
    const width = count * headDim;
    takeColumns(all, part, { first, width, stride: width });
    first += width;
  }
}

export const attentionKind: LayerKind<AttentionSpec> = {
  scratch: ({ heads, kvHeads, headDim, sites }) => ({
    q: heads * headDim,
    k: kvHeads * headDim,
    v: kvHeads * headDim,
    mixed: heads * headDim,
    pastKeys: kvHeads * headDim,
    pastValues: kvHeads * headDim,
    ...("qkv" in sites && { qkv: sites.qkv.shape[0] }),
  }),
  *forward(spec, x, run) {
    const { backend, layer, cache, segments } = run;
    const { ops } = backend;
    const { sites, norms, heads, kvHeads, headDim, window, scale, rope } = spec;
    const tokens = rowsOf(x);
    const [width, kvWidth] = [heads * headDim, kvHeads * headDim];
    const q = run.scratch("q", width);
    const mixed = run.scratch("mixed", width);
    const scales = cache?.scales[layer];
    const [k, v] =
      cache && !scales
        ? [cache.keys, cache.values].map((all) => backend.rows(all[layer], cache.length, tokens))
        : [run.scratch("k", kvWidth), run.scratch("v", kvWidth)];
    if ("qkv" in sites) yield* multiplyFused(spec, sites, x, [q, k, v], run);
    else {
      yield* run.multiply(sites.q, x, q);
      yield* run.multiply(sites.k, x, k);
      yield* run.multiply(sites.v, x, v);
    }
    if (norms.q) normalise(backend, norms.q, q, run.norms[norms.q.name], q);
    if (norms.k) normalise(backend, norms.k, k, run.norms[norms.k.name], k);
    const reach = segments.reduce((most, { position, rows }) => Math.max(most, position + rows), 0);
    const tables = rope && ropeTables(rope, headDim, reach, run);
    if (tables) {
      const [cos, sin] = tables;
      for (const { first, rows, position } of segments) {
        for (const tensor of [q, k]) {
          ops.rope(backend.rows(tensor, first, rows), cos, sin, position, headDim);
        }
      }
    }
    if (cache && scales) {
      for (const [own, codes, factors] of [
        [k, cache.keys[layer], scales.keys],
        [v, cache.values[layer], scales.values],
      ]) {
        const here = (tensor: Tensor) => backend.rows(tensor, cache.length, tokens);
        ops.roundHeads(own, here(codes), here(factors));
      }
    }
    const shape = { heads, kvHeads, headDim, window, scale };
    const room = (name: "pastKeys" | "pastValues") => run.scratch(name, kvWidth);
    for (const [segment, seen] of seenBy(backend, segments, { k, v, cache, layer, room })) {
      const { first, rows, position } = segment;
      const work = attentionWork(position + rows, shape);
      for (const { first: from, count } of stepRanges(backend, rows, work)) {
        const some = (tensor: Tensor) => backend.rows(tensor, first + from, count);
        const past = (tensor: Tensor) => backend.rows(tensor, seen.first, position + from + count);
        const [queries, out] = [some(q), some(mixed)];
        const [keys, values] = [past(seen.keys), past(seen.values)];
        if (seen.scales) {
          const factors = [past(seen.scales.keys), past(seen.scales.values)] as const;
          ops.roundedAttention(queries, keys, factors[0], values, factors[1], out, shape);
        } else ops.attention(queries, keys, values, out, shape);
        yield;
      }
    }
    yield* run.multiply(sites.o, mixed, x);
  },
};
