/** Models whose weights lie in several memories. */
import type { Backend } from "../backend.js";
import { carry } from "../backends/carry.js";
import { pacer } from "../run.js";
import type { Work } from "../steps.js";
import type { Tensor } from "../tensor.js";
import { isRounded } from "./activations.js";
import {
  BlockRunner,
  type BlockWeights,
  Decoder,
  disposeBlock,
  disposeOuter,
  type OuterWeights,
  type SequenceRun,
} from "./decoder.js";
import { KeyValueCache, type KvCache } from "./layers/key-value-cache.js";
import { type LoadOptions, loadBlock, loadOuter, SharedMatrices } from "./load.js";
import type { StoredModel } from "./stored.js";
import { allOrNothing } from "./weights.js";

/** A memory with its part of the residual stream. */
interface Place {
  readonly backend: Backend;
  /** [maxTokens, hiddenSize] */
  readonly hidden: Tensor;
}

/** The blocks of one memory. */
class Shard implements Place {
  readonly runner: BlockRunner;
  readonly hidden: Tensor;

  constructor(
    readonly backend: Backend,
    { spec }: StoredModel,
    readonly blocks: readonly BlockWeights[],
    maxTokens: number,
  ) {
    this.runner = new BlockRunner(backend, spec, maxTokens, spec.context);
    this.hidden = backend.zeros([maxTokens, spec.hiddenSize]);
  }

  dispose(): void {
    this.runner.dispose();
    this.hidden.dispose();
    for (const block of this.blocks) disposeBlock(block);
  }
}

/**
 * Computes what `Decoder` does, bit for bit, with blocks in several memories: the residual stream is carried
 * from one to the next. What stands outside the blocks is in the first.
 */
export class ShardedDecoder extends Decoder {
  /** @param shards those beside the first, whose blocks follow each other and those of the first */
  constructor(
    model: StoredModel,
    backend: Backend,
    outer: OuterWeights,
    blocks: readonly BlockWeights[],
    private readonly shards: readonly Shard[],
    maxTokens: number,
  ) {
    super(backend, model.spec, outer, blocks, maxTokens, model.spec.context);
  }

  protected override *steps(tokens: Int32Array, options: SequenceRun): Work {
    yield* super.steps(tokens, options);
    const rows = ({ backend, hidden }: Place) => backend.rows(hidden, 0, tokens.length);
    const move = (from: Place, to: Place) => carry(from.backend, rows(from), to.backend, rows(to));
    let at: Place = this;
    for (const shard of this.shards) {
      yield move(at, shard);
      for (const block of shard.blocks) yield* shard.runner.steps(rows(shard), block, options);
      at = shard;
    }
    yield move(at, this);
  }

  override get roundsActivations(): boolean {
    return super.roundsActivations || this.shards.some(({ blocks }) => isRounded(blocks));
  }

  override cache(capacity: number, kind?: KvCache): KeyValueCache {
    const homes = [this.blocks.length, ...this.shards.map(({ blocks }) => blocks.length)];
    const backends = [this.backend, ...this.shards.map(({ backend }) => backend)];
    const homeOf = homes.flatMap((count, i) => Array<Backend>(count).fill(backends[i]));
    return new KeyValueCache((layer) => homeOf[layer], this.spec, capacity, kind);
  }

  override dispose(): void {
    for (const shard of this.shards) shard.dispose();
    super.dispose();
  }
}

/**
 * Loads every weight of a model, its blocks in several memories.
 *
 * @param starts the first block of each memory but the first
 * @param another opens one more
 */
export function loadSharded(
  model: StoredModel,
  backend: Backend,
  maxTokens: number,
  { starts, another, activations, signal }: ShardedOptions,
): Promise<Decoder> {
  return allOrNothing(async (own) => {
    const rest = pacer(signal);
    const outer = await loadOuter(model, backend, { activations, signal });
    own({ dispose: () => disposeOuter(outer) });
    const { length } = model.spec.blocks;
    const load = async (home: Backend, first: number, end: number) => {
      const matrices = new SharedMatrices();
      const blocks: BlockWeights[] = [];
      own({ dispose: () => blocks.forEach(disposeBlock) });
      for (let layer = first; layer < end; layer++) {
        await rest();
        blocks.push(await loadBlock(model, home, layer, { matrices, activations, signal }));
      }
      return blocks;
    };
    const blocks = await load(backend, 0, starts[0] ?? length);
    const shards: Shard[] = [];
    for (const [i, first] of starts.entries()) {
      const home = (await another())!;
      shards.push(
        new Shard(home, model, await load(home, first, starts[i + 1] ?? length), maxTokens),
      );
    }
    return new ShardedDecoder(model, backend, outer, blocks, shards, maxTokens);
  });
}

export interface ShardedOptions extends Pick<LoadOptions, "activations" | "signal"> {
  readonly starts: readonly number[];
  another(): Promise<Backend | undefined>;
}
