import type { Backend, Weight } from "../backend.js";
import type { PreparedMatrix } from "../backends/operations/form.js";
import type { BlockSpec, DecoderSpec, Site } from "../model.js";
import { operationSteps, takeSteps, type Work, type WorkSteps } from "../steps.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";
import { isRounded } from "./activations.js";
import { deferring } from "./deferring.js";
import { layerKinds } from "./layers/index.js";
import { KeyValueCache, type KvCache } from "./layers/key-value-cache.js";
import type { LayerRun } from "./layers/layer.js";
import { type NormWeights, normalise } from "./layers/norm.js";
import type { Segment } from "./layers/segments.js";
import { Turns } from "./turns.js";

/** A linear layer ready to run: y = x Wᵀ + bias, W in whichever form it is held. */
export interface LinearWeight {
  readonly weight: Weight;
  readonly bias?: Tensor | undefined;
}

/** The parameters of one decoder block on a backend. */
export interface BlockWeights {
  readonly layer: number;
  /** Such as "model.layers.3". */
  readonly name: string;
  readonly spec: BlockSpec;
  /** By the norms' names. */
  readonly norms: Readonly<Record<string, NormWeights>>;
  /** By the sites' names. */
  readonly linears: Readonly<Record<string, LinearWeight>>;
  /** Rᵀ [hiddenSize, hiddenSize]: x becomes x R before the block. */
  readonly inputRotation?: Weight | undefined;
  /** Rᵀ [hiddenSize, hiddenSize]: x becomes x R after the block. */
  readonly outputRotation?: Weight | undefined;
}

/** A table whose rows are made when they are looked up; nothing multiplies by it. */
export interface RowTable extends PreparedMatrix {
  /** out [T, cols] = rows ids [T]. */
  lookUp(ids: Int32Array, out: Tensor): void;
}

function isRowTable(weight: Weight): weight is RowTable {
  return "lookUp" in weight;
}

/** Everything that a decoder needs beside its blocks. */
export interface OuterWeights {
  /** [vocabSize, hiddenSize]; may be a `RowTable`. */
  readonly embedding: Weight;
  /** [offset + context, hiddenSize], where positions are learned. */
  readonly positions?: Tensor | undefined;
  readonly finalNorm: NormWeights;
  /** [vocabSize, hiddenSize]; the embedding itself when tied. */
  readonly head: Weight;
}

export function disposeBlock(block: BlockWeights): void {
  for (const { weight, bias } of Object.values(block.linears)) {
    weight.dispose();
    bias?.dispose();
  }
  const { norms, inputRotation, outputRotation } = block;
  for (const { gain, bias } of Object.values(norms)) {
    gain.dispose();
    bias?.dispose();
  }
  inputRotation?.dispose();
  outputRotation?.dispose();
}

export function disposeOuter({ embedding, positions, finalNorm, head }: OuterWeights): void {
  embedding.dispose();
  positions?.dispose();
  finalNorm.gain.dispose();
  finalNorm.bias?.dispose();
  if (head !== embedding) head.dispose();
}

/**
 * Sees the input of each linear [tokens, inFeatures] while a block runs, and the residual stream
 * [tokens, hiddenSize] that its branch adds to; must not keep them longer than its steps.
 */
export type LinearObserver = (
  name: string,
  input: Tensor,
  residual: Tensor,
) => WorkSteps | undefined;

export interface BlockRun {
  /** How the rows of x follow each other. @default one text, behind what the cache holds */
  readonly segments?: readonly Segment[] | undefined;
  /** Positions already seen of one sequence; of several, each segment has its own. */
  readonly cache?: KeyValueCache | undefined;
  readonly observe?: LinearObserver | undefined;
  /** A site to stop at once it was observed, which leaves x unfinished. @default nowhere */
  readonly until?: string | undefined;
}

/** What a branch reads, and then adds to the residual stream. */
const BRANCH = "branch";
/** The same where another branch of a parallel block has left its part in the first. */
const BESIDE = "beside";

/**
 * Runs decoder blocks over a workspace that is made by the first run and kept until `release`. A
 * block's input x [tokens, hiddenSize] is the residual stream and is updated in place.
 */
export class BlockRunner {
  /** Columns of each scratch tensor: as many as the widest layer takes. */
  private readonly widths = new Map<string, number>();
  private readonly scratch = new Map<string, Tensor>();
  private readonly tables = new Map<string, readonly Tensor[]>();

  /**
   * @param maxTokens rows that one call may have
   * @param maxPositions positions that one sequence may have
   */
  constructor(
    readonly backend: Backend,
    readonly spec: DecoderSpec,
    private readonly maxTokens: number,
    private readonly maxPositions: number,
  ) {
    for (const name of [BRANCH, BESIDE]) this.widths.set(name, spec.hiddenSize);
    for (const { layer } of spec.blocks.flatMap(({ branches }) => branches)) {
      for (const [name, cols] of Object.entries(layerKinds[layer.kind].scratch(layer))) {
        this.widths.set(name, Math.max(cols, this.widths.get(name) ?? 0));
      }
    }
  }

  /** A scratch tensor as [rows, cols]. */
  private room(name: string, rows: number, cols: number): Tensor {
    let tensor = this.scratch.get(name);
    if (!tensor) {
      tensor = this.backend.zeros([this.maxTokens, this.widths.get(name)!]);
      this.scratch.set(name, tensor);
    }
    return this.backend.rows(tensor, 0, rows, cols);
  }

  /** out = input Wᵀ + bias. */
  private linear(input: Tensor, { weight, bias }: LinearWeight, out: Tensor): Work {
    return operationSteps(this.backend, "multiply", input, weight, out, { bias });
  }

  /** x = x R in place, for the matrix Rᵀ. */
  private *rotate(x: Tensor, weight: Weight | undefined): Work {
    if (!weight) return;
    const turned = this.room(BRANCH, rowsOf(x), colsOf(x));
    yield* this.linear(x, { weight }, turned);
    this.backend.copy(turned, x);
  }

  /** Runs a block in one go. */
  run(x: Tensor, block: BlockWeights, options: BlockRun = {}): void {
    takeSteps(this.steps(x, block, options));
  }

  /** The steps of a block; x is half done until the last. */
  *steps(x: Tensor, block: BlockWeights, options: BlockRun = {}): Work {
    const { backend } = this;
    const { cache, observe, until } = options;
    const { segments = [{ first: 0, rows: rowsOf(x), position: cache?.length ?? 0 }] } = options;
    const { layer, norms, linears } = block;
    const { branches, parallel = false } = block.spec;
    let isOver = false;
    const { maxPositions } = this;
    const linear = (site: Site, input: Tensor, out: Tensor) =>
      this.linear(input, linears[site.name], out);
    function* observed(site: Site, input: Tensor, out: Tensor): Work {
      yield* observe?.(site.name, input, x) ?? [];
      isOver = site.name === until;
      // At this step the loop below leaves.
      if (isOver) yield undefined;
      else yield* linear(site, input, out);
    }
    const run: LayerRun = {
      backend,
      layer,
      segments,
      maxPositions,
      cache,
      norms,
      scratch: (name, cols) => this.room(name, rowsOf(x), cols),
      table: (key, rows, make) => {
        const held = this.tables.get(key);
        if (held && rowsOf(held[0]) >= rows) return held;
        for (const tensor of held ?? []) tensor.dispose();
        const made = make();
        this.tables.set(key, made);
        return made;
      },
      multiply: observe || until ? observed : linear,
    };
    yield* this.rotate(x, block.inputRotation);
    /** What all branches of a parallel block add. */
    let sum: Tensor | undefined;
    for (const { before, layer: spec, after, scale = 1 } of branches) {
      const branch = this.room(sum ? BESIDE : BRANCH, rowsOf(x), colsOf(x));
      if (before) normalise(backend, before, x, norms[before.name], branch);
      else backend.copy(x, branch);
      for (const step of layerKinds[spec.kind].forward(spec, branch, run)) {
        if (isOver) return;
        yield step;
      }
      if (after) normalise(backend, after, branch, norms[after.name], branch);
      if (scale !== 1) backend.ops.scale(branch, scale);
      if (sum) backend.ops.add(sum, branch);
      else if (parallel) sum = branch;
      else backend.ops.add(x, branch);
    }
    if (sum) backend.ops.add(x, sum);
    yield* this.rotate(x, block.outputRotation);
  }

  /** Frees the workspace; the next run makes it anew. */
  release(): void {
    for (const tensor of this.scratch.values()) tensor.dispose();
    this.scratch.clear();
  }

  dispose(): void {
    this.release();
    for (const tensor of [...this.tables.values()].flat()) tensor.dispose();
  }
}

/** Runs windows of tokens through all blocks before `forward` is asked for them. */
export interface Ahead {
  /** Blocks that are run. */
  readonly blockCount: number;
  /** Most windows of so many tokens that are run together. */
  atOnce(window: number): number;
  /**
   * Runs windows, each of which the next `forward`s may take once; yields after every block.
   *
   * @throws the signal's reason when it was aborted
   */
  run(
    windows: readonly Int32Array[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<undefined, void, void>;
}

/** How rows of tokens follow each other, and what is known of them already. */
export type SequenceRun = Required<Pick<BlockRun, "segments">> & Pick<BlockRun, "cache">;

let nextSerial = 0;

/** A whole model on a backend, ready to score and to generate. */
export class Decoder {
  protected readonly runner: BlockRunner;
  /** [maxTokens, hiddenSize] */
  readonly hidden: Tensor;
  private readonly ids: Tensor;
  /** Where blocks are not all in memory. */
  readonly ahead?: Ahead;
  /** Tells decoders apart, in an order. */
  readonly serial = nextSerial++;
  /** Whose steps are taken. End it before the decoder is disposed while others may still run it. */
  readonly turns = new Turns();

  /** @param maxTokens longest run of tokens that one call may have */
  constructor(
    readonly backend: Backend,
    readonly spec: DecoderSpec,
    private readonly outer: OuterWeights,
    protected readonly blocks: readonly BlockWeights[],
    readonly maxTokens: number,
    maxPositions: number,
  ) {
    this.runner = new BlockRunner(backend, spec, maxTokens, maxPositions);
    this.hidden = backend.zeros([maxTokens, spec.hiddenSize]);
    this.ids = backend.zeros([maxTokens, 1], "i32");
  }

  /** As `Turns.take`. */
  pace(steps: WorkSteps, signal: AbortSignal | undefined): Promise<void> {
    return this.turns.take(steps, signal);
  }

  /** Whether products round activations to int8; of blocks that are not all in memory, whether they did. */
  get roundsActivations(): boolean {
    return isRounded(this.blocks, this.outer.head);
  }

  /** An empty cache of keys and values. */
  cache(capacity: number, kind?: KvCache): KeyValueCache {
    return new KeyValueCache(() => this.backend, this.spec, capacity, kind);
  }

  /**
   * The steps of the blocks over one sequence, continuing `cache` when it is given. `project` reads the
   * result.
   *
   * @param tokens at most `maxTokens` ids
   */
  *forward(tokens: Int32Array, cache?: KeyValueCache): Work {
    const segments = [{ first: 0, rows: tokens.length, position: cache?.length ?? 0 }];
    yield* deferring(this.backend, tokens.length, this.steps(tokens, { segments, cache }));
    if (cache) cache.length += tokens.length;
  }

  /** The same over several sequences, which may share what they begin with, or continue caches of their own. */
  *forwardSegments(tokens: Int32Array, segments: readonly Segment[]): Work {
    yield* deferring(this.backend, tokens.length, this.steps(tokens, { segments }));
    for (const { cache, rows } of segments) if (cache) cache.length += rows;
  }

  protected *steps(tokens: Int32Array, options: SequenceRun): Work {
    const hidden = this.embed(tokens, options.segments);
    for (const block of this.blocks) yield* this.runner.steps(hidden, block, options);
  }

  /** What the first block reads: [tokens, hiddenSize]. */
  protected embed(tokens: Int32Array, segments: readonly Segment[]): Tensor {
    const { backend, outer } = this;
    const hidden = backend.rows(this.hidden, 0, tokens.length);
    if (isRowTable(outer.embedding)) outer.embedding.lookUp(tokens, hidden);
    else {
      const ids = backend.rows(this.ids, 0, tokens.length);
      backend.write(ids, tokens);
      backend.ops.embed(outer.embedding, ids, hidden);
    }
    const { embeddingScale = 1, positions } = this.spec;
    if (embeddingScale !== 1) backend.ops.scale(hidden, embeddingScale);
    if (outer.positions) {
      for (const { first, rows, position } of segments) {
        const learned = backend.rows(outer.positions, positions!.offset + position, rows);
        backend.ops.add(backend.rows(hidden, first, rows), learned);
      }
    }
    return hidden;
  }

  /**
   * Final norm and output head of positions of the last `forward`, each of which may be read once.
   *
   * @param start first position
   * @param out [positions, vocabSize]
   */
  *project(start: number, out: Tensor): Work {
    const { backend, spec, outer } = this;
    const hidden = backend.rows(this.hidden, start, rowsOf(out));
    normalise(backend, spec.finalNorm, hidden, outer.finalNorm, hidden);
    yield* operationSteps(backend, "multiply", hidden, outer.head, out);
  }

  /**
   * The same of any positions of the last `forward` or `forwardSegments`, any of them several times.
   *
   * @param rows i32 [positions, 1], rows of its tokens
   * @param room f32 [positions, hiddenSize] that is written over
   * @param out [positions, vocabSize]
   */
  *projectRows(rows: Tensor, room: Tensor, out: Tensor): Work {
    const { backend, spec, outer } = this;
    backend.ops.embed(this.hidden, rows, room);
    normalise(backend, spec.finalNorm, room, outer.finalNorm, room);
    yield* operationSteps(backend, "multiply", room, outer.head, out);
  }

  /** The steps of `logits`, for `pace`. */
  *logitSteps(tokens: Int32Array, out: Tensor, cache?: KeyValueCache): Work {
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
    disposeOuter(this.outer);
  }
}
