import type { Backend, Weight } from "./backend.js";
import { attentionWork } from "./backends/operations/attention.js";
import type { DecoderSpec, LinearName, RopeSpec } from "./model.js";
import { byRows, paceSteps, stepRanges, takeSteps, type WorkSteps } from "./steps.js";
import { colsOf, rowsOf, type Tensor } from "./tensor.js";

/** A linear layer ready to run: y = x Wᵀ + bias, W in whichever form it is held. */
export interface LinearWeight {
  readonly weight: Weight;
  readonly bias?: Tensor;
}

/** The parameters of one decoder block on a backend. */
export interface BlockWeights {
  readonly layer: number;
  readonly inputNorm: Tensor;
  readonly postAttentionNorm: Tensor;
  readonly qNorm?: Tensor;
  readonly kNorm?: Tensor;
  readonly linears: Readonly<Record<LinearName, LinearWeight>>;
  /** Rᵀ [hiddenSize, hiddenSize]: x becomes x R before the block. */
  readonly inputRotation?: Weight;
  /** Rᵀ [hiddenSize, hiddenSize]: x becomes x R after the block. */
  readonly outputRotation?: Weight;
}

/** Everything that a decoder needs beside its blocks. */
export interface OuterWeights {
  /** [vocabSize, hiddenSize] */
  readonly embedding: Weight;
  readonly finalNorm: Tensor;
  /** [vocabSize, hiddenSize]; the embedding itself when tied. */
  readonly head: Weight;
}

export function disposeBlock(block: BlockWeights): void {
  for (const { weight, bias } of Object.values(block.linears)) {
    weight.dispose();
    bias?.dispose();
  }
  const { inputNorm, postAttentionNorm, qNorm, kNorm, inputRotation, outputRotation } = block;
  const rest = [inputNorm, postAttentionNorm, qNorm, kNorm, inputRotation, outputRotation];
  for (const tensor of rest) tensor?.dispose();
}

/** Keys and values of the positions seen so far, one pair of [capacity, kvHeads*headDim] a layer. */
export class KeyValueCache {
  /** Positions filled. */
  length = 0;
  readonly keys: readonly Tensor[];
  readonly values: readonly Tensor[];

  constructor(
    backend: Backend,
    spec: DecoderSpec,
    readonly capacity: number,
  ) {
    const make = () =>
      Array.from({ length: spec.layers }, () =>
        backend.zeros([capacity, spec.kvHeads * spec.headDim]),
      );
    this.keys = make();
    this.values = make();
  }

  dispose(): void {
    for (const tensor of [...this.keys, ...this.values]) tensor.dispose();
  }
}

/** Sees the input of each linear [tokens, inFeatures] while a block runs; must not keep it longer than its steps. */
export type LinearObserver = (name: LinearName, input: Tensor) => WorkSteps | undefined;

export interface BlockRun {
  /** Sequences that the rows of x are cut into, all of one length. @default 1 */
  readonly sequences?: number;
  /** Positions already seen; only with one sequence. */
  readonly cache?: KeyValueCache;
  readonly observe?: LinearObserver;
  /** Leave x unfinished: its last linear is observed but not multiplied. @default false */
  readonly observeOnly?: boolean;
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

/** What a block computes in: each [maxTokens, features]. */
type Scratch = Readonly<Record<"norm" | "q" | "k" | "v" | "mixed" | "gate" | "up", Tensor>>;

/**
 * Runs decoder blocks over a workspace that is made by the first run and kept until `release`. A
 * block's input x [tokens, hiddenSize] is the residual stream and is updated in place.
 */
export class BlockRunner {
  private readonly cos: Tensor;
  private readonly sin: Tensor;
  private made: Scratch | undefined;

  /**
   * @param maxTokens rows that one call may have
   * @param maxPositions positions that one sequence may have
   */
  constructor(
    readonly backend: Backend,
    readonly spec: DecoderSpec,
    private readonly maxTokens: number,
    maxPositions: number,
  ) {
    const frequencies = ropeFrequencies(spec.rope, spec.headDim);
    const half = frequencies.length;
    const table = (f: (angle: number) => number) =>
      backend.upload(
        Float32Array.from({ length: maxPositions * half }, (_, i) =>
          f(Math.floor(i / half) * frequencies[i % half]),
        ),
        [maxPositions, half],
      );
    this.cos = table(Math.cos);
    this.sin = table(Math.sin);
  }

  private get scratch(): Scratch {
    this.made ??= this.makeScratch();
    return this.made;
  }

  private makeScratch(): Scratch {
    const { hiddenSize, heads, kvHeads, headDim, intermediateSize } = this.spec;
    const wide = (cols: number) => this.backend.zeros([this.maxTokens, cols]);
    return {
      norm: wide(hiddenSize),
      q: wide(heads * headDim),
      k: wide(kvHeads * headDim),
      v: wide(kvHeads * headDim),
      mixed: wide(heads * headDim),
      gate: wide(intermediateSize),
      up: wide(intermediateSize),
    };
  }

  /** out = input Wᵀ + bias. */
  private *linear(
    input: Tensor,
    { weight, bias }: LinearWeight,
    out: Tensor,
  ): Generator<void, void, void> {
    const { backend } = this;
    yield* byRows(backend, rowsOf(input), colsOf(input) * colsOf(out), (part) =>
      backend.ops.multiply(part(input), weight, part(out), { bias }),
    );
  }

  /** x = x R in place, for the matrix Rᵀ. */
  private *rotate(x: Tensor, weight: Weight | undefined): Generator<void, void, void> {
    if (!weight) return;
    const turned = this.backend.rows(this.scratch.norm, 0, rowsOf(x));
    yield* this.linear(x, { weight }, turned);
    this.backend.copy(turned, x);
  }

  /** Runs a block in one go. */
  run(x: Tensor, block: BlockWeights, options: BlockRun = {}): void {
    takeSteps(this.steps(x, block, options));
  }

  /** The steps of a block; x is half done until the last. */
  *steps(x: Tensor, block: BlockWeights, options: BlockRun = {}): Generator<void, void, void> {
    const { backend, spec, scratch } = this;
    const { ops } = backend;
    const { observe, observeOnly = false } = options;
    const tokens = rowsOf(x);
    const view = (tensor: Tensor) => backend.rows(tensor, 0, tokens);
    const norm = view(scratch.norm);

    yield* this.rotate(x, block.inputRotation);
    ops.rmsNorm(x, block.inputNorm, norm, spec.rmsNormEps);
    const mixed = yield* this.attend(norm, block, options);
    yield* observe?.("self_attn.o_proj", mixed) ?? [];
    yield* this.linear(mixed, block.linears["self_attn.o_proj"], norm);
    ops.add(x, norm);

    ops.rmsNorm(x, block.postAttentionNorm, norm, spec.rmsNormEps);
    const [gate, up] = [view(scratch.gate), view(scratch.up)];
    yield* observe?.("mlp.gate_proj", norm) ?? [];
    yield* this.linear(norm, block.linears["mlp.gate_proj"], gate);
    yield* observe?.("mlp.up_proj", norm) ?? [];
    yield* this.linear(norm, block.linears["mlp.up_proj"], up);
    ops.swiglu(gate, up, gate);
    yield* observe?.("mlp.down_proj", gate) ?? [];
    if (observeOnly) return;
    yield* this.linear(gate, block.linears["mlp.down_proj"], norm);
    ops.add(x, norm);
    yield* this.rotate(x, block.outputRotation);
  }

  /** Self-attention over the normalised input, up to but without the output projection. */
  private *attend(
    input: Tensor,
    block: BlockWeights,
    options: BlockRun,
  ): Generator<void, Tensor, void> {
    const { backend, spec, scratch } = this;
    const { ops } = backend;
    const { cache, observe, sequences = 1 } = options;
    const { layer, linears } = block;
    const tokens = rowsOf(input);
    const start = cache?.length ?? 0;
    const q = backend.rows(scratch.q, 0, tokens);
    const k = backend.rows(cache?.keys[layer] ?? scratch.k, start, tokens);
    const v = backend.rows(cache?.values[layer] ?? scratch.v, start, tokens);
    const mixed = backend.rows(scratch.mixed, 0, tokens);
    yield* observe?.("self_attn.q_proj", input) ?? [];
    yield* this.linear(input, linears["self_attn.q_proj"], q);
    yield* observe?.("self_attn.k_proj", input) ?? [];
    yield* this.linear(input, linears["self_attn.k_proj"], k);
    yield* observe?.("self_attn.v_proj", input) ?? [];
    yield* this.linear(input, linears["self_attn.v_proj"], v);
    if (block.qNorm) ops.rmsNorm(q, block.qNorm, q, spec.rmsNormEps);
    if (block.kNorm) ops.rmsNorm(k, block.kNorm, k, spec.rmsNormEps);

    const { heads, kvHeads, headDim } = spec;
    const shape = { heads, kvHeads, headDim, window: spec.windows[layer] };
    const length = tokens / sequences;
    for (let s = 0; s < sequences; s++) {
      const part = (tensor: Tensor) => backend.rows(tensor, s * length, length);
      const [qs, ks] = [part(q), part(k)];
      ops.rope(qs, this.cos, this.sin, start);
      ops.rope(ks, this.cos, this.sin, start);
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
    return mixed;
  }

  /** Frees the workspace; the next run makes it anew. */
  release(): void {
    for (const tensor of Object.values(this.made ?? {})) tensor.dispose();
    this.made = undefined;
  }

  dispose(): void {
    this.release();
    this.cos.dispose();
    this.sin.dispose();
  }
}

/** A whole model on a backend, ready to score and to generate. */
export class Decoder {
  private readonly runner: BlockRunner;
  private readonly hidden: Tensor;
  private readonly ids: Tensor;
  /** Resolves when the last that came has taken its steps. */
  private free: Promise<void> = Promise.resolve();

  /** @param maxTokens longest run of tokens that one call may have */
  constructor(
    readonly backend: Backend,
    readonly spec: DecoderSpec,
    private readonly outer: OuterWeights,
    private readonly blocks: readonly BlockWeights[],
    readonly maxTokens: number,
    maxPositions: number,
  ) {
    this.runner = new BlockRunner(backend, spec, maxTokens, maxPositions);
    this.hidden = backend.zeros([maxTokens, spec.hiddenSize]);
    this.ids = backend.zeros([maxTokens, 1], "i32");
  }

  /**
   * Takes steps of this decoder, letting timers run in between; other callers' wait until all are taken.
   *
   * @throws the signal's reason within 100 ms or so of its abort
   */
  pace(steps: WorkSteps, signal: AbortSignal | undefined): Promise<void> {
    const done = this.free.then(() => {
      signal?.throwIfAborted();
      return paceSteps(steps, signal);
    });
    this.free = done.catch(() => {});
    return done;
  }

  /**
   * The steps of the blocks over one sequence, continuing `cache` when it is given. `project` reads the
   * result.
   *
   * @param tokens at most `maxTokens` ids
   */
  *forward(tokens: Int32Array, cache?: KeyValueCache): Generator<void, void, void> {
    const { backend, outer } = this;
    const ids = backend.rows(this.ids, 0, tokens.length);
    const hidden = backend.rows(this.hidden, 0, tokens.length);
    backend.write(ids, tokens);
    backend.ops.embed(outer.embedding, ids, hidden);
    for (const block of this.blocks) yield* this.runner.steps(hidden, block, { cache });
    if (cache) cache.length += tokens.length;
  }

  /**
   * Final norm and output head of positions of the last `forward`, each of which may be read once.
   *
   * @param start first position
   * @param out [positions, vocabSize]
   */
  *project(start: number, out: Tensor): Generator<void, void, void> {
    const { backend, spec, outer } = this;
    const hidden = backend.rows(this.hidden, start, rowsOf(out));
    backend.ops.rmsNorm(hidden, outer.finalNorm, hidden, spec.rmsNormEps);
    yield* byRows(backend, rowsOf(out), colsOf(hidden) * colsOf(out), (part) =>
      backend.ops.multiply(part(hidden), outer.head, part(out)),
    );
  }

  /** The steps of `logits`, for `pace`. */
  *logitSteps(tokens: Int32Array, out: Tensor, cache?: KeyValueCache): Generator<void, void, void> {
    yield* this.forward(tokens, cache);
    yield* this.project(tokens.length - rowsOf(out), out);
  }

  /**
   * Runs the model over one sequence in one go, continuing `cache` when it is given. Not while others
   * `pace` this decoder.
   *
   * @param tokens at most `maxTokens` ids
   * @param out [tokens, vocabSize], or fewer rows for the last positions only
   */
  logits(tokens: Int32Array, out: Tensor, cache?: KeyValueCache): void {
    takeSteps(this.logitSteps(tokens, out, cache));
  }

  dispose(): void {
    this.runner.dispose();
    this.hidden.dispose();
    this.ids.dispose();
    for (const block of this.blocks) disposeBlock(block);
    this.outer.embedding.dispose();
    this.outer.finalNorm.dispose();
    if (this.outer.head !== this.outer.embedding) this.outer.head.dispose();
  }
}
