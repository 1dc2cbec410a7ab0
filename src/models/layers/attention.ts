import type { Backend } from "../../backend.js";
import type { AttentionSpec, NormSpec, RopeSpec, Site } from "../../model.js";
import { stepRanges } from "../../steps.js";
import { rowsOf, type Tensor } from "../../tensor.js";
import { type LayerRun, type LayerRunner, type Room, widest } from "./layer.js";
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

/** Cosines and sines of the angles of each position [maxPositions, headDim / 2]. */
interface Turns {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

function turnsOf(backend: Backend, { rope, headDim }: AttentionSpec, maxPositions: number): Turns {
  const frequencies = ropeFrequencies(rope, headDim);
  const half = frequencies.length;
  const table = (f: (angle: number) => number) =>
    backend.upload(
      Float32Array.from({ length: maxPositions * half }, (_, i) =>
        f(Math.floor(i / half) * frequencies[i % half]),
      ),
      [maxPositions, half],
    );
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

/** What layers with equal tables of turns have in common. */
function turnsKey({ rope, headDim }: AttentionSpec): string {
  return JSON.stringify([rope, headDim]);
}

export class AttentionRunner implements LayerRunner {
  private readonly turns = new Map<string, Turns>();
  private readonly scratch: Readonly<Record<"q" | "k" | "v" | "mixed", Tensor>>;

  constructor(
    private readonly backend: Backend,
    specs: readonly AttentionSpec[],
    { maxTokens, maxPositions }: Room,
  ) {
    for (const spec of specs) {
      const key = turnsKey(spec);
      if (!this.turns.has(key)) this.turns.set(key, turnsOf(backend, spec, maxPositions));
    }
    const wide = (name: "q" | "k" | "v") =>
      backend.zeros([maxTokens, widest(specs, ({ sites }) => sites[name].shape[0])]);
    this.scratch = { q: wide("q"), k: wide("k"), v: wide("v"), mixed: wide("q") };
  }

  *forward(spec: AttentionSpec, x: Tensor, run: LayerRun): Generator<void, void, void> {
    const { backend, scratch } = this;
    const { ops } = backend;
    const { layer, cache, sequences } = run;
    const { sites, norms, heads, kvHeads, headDim, window } = spec;
    const tokens = rowsOf(x);
    const start = cache?.length ?? 0;
    const [width, kvWidth] = [heads * headDim, kvHeads * headDim];
    const q = backend.rows(scratch.q, 0, tokens, width);
    const k = backend.rows(cache?.keys[layer] ?? scratch.k, start, tokens, kvWidth);
    const v = backend.rows(cache?.values[layer] ?? scratch.v, start, tokens, kvWidth);
    const mixed = backend.rows(scratch.mixed, 0, tokens, width);
    yield* run.multiply(sites.q, x, q);
    yield* run.multiply(sites.k, x, k);
    yield* run.multiply(sites.v, x, v);
    if (norms.q) normalise(backend, norms.q, q, run.norms[norms.q.name], q);
    if (norms.k) normalise(backend, norms.k, k, run.norms[norms.k.name], k);

    const { cos, sin } = this.turns.get(turnsKey(spec))!;
    const length = tokens / sequences;
    for (let s = 0; s < sequences; s++) {
      const part = (tensor: Tensor) => backend.rows(tensor, s * length, length);
      ops.rope(part(q), cos, sin, start);
      ops.rope(part(k), cos, sin, start);
      const work = 2 * (start + length) * width;
      for (const { first, count } of stepRanges(backend, length, work)) {
        const some = (tensor: Tensor) => backend.rows(tensor, s * length + first, count);
        const seen = (now: Tensor, all: readonly Tensor[] | undefined) =>
          all
            ? backend.rows(all[layer], 0, start + first + count)
            : backend.rows(now, s * length, first + count);
        const [keys, values] = [seen(k, cache?.keys), seen(v, cache?.values)];
        ops.attention(some(q), keys, values, some(mixed), { heads, kvHeads, headDim, window });
        yield;
      }
    }
    yield* run.multiply(sites.o, mixed, x);
  }

  dispose(): void {
    const turns = [...this.turns.values()].flatMap(({ cos, sin }) => [cos, sin]);
    for (const tensor of [...turns, ...Object.values(this.scratch)]) tensor.dispose();
  }
}
