/** What models would take in memory, by the code that loads and runs them: of their headers alone. */
import { type CountingBackend, openCounting } from "../backends/counting.js";
import { inputRotation } from "../extras.js";
import type { Activations } from "../forms/integer.js";
import { blockName, blockTensor, type DecoderSpec, sitesOf } from "../model.js";
import { pacer } from "../run.js";
import { BlockByBlock } from "./block-by-block.js";
import { type BlockWeights, Decoder, disposeBlock, disposeOuter } from "./decoder.js";
import { type LoadOptions, loadBlock, loadOuter, SharedMatrices } from "./load.js";
import type { BlockBytes } from "./share-out.js";
import type { StoredModel } from "./stored.js";
import { allOrNothing } from "./weights.js";
import { withoutNumbers } from "./without-numbers.js";

export interface CountedModelOptions {
  /** Longest run of tokens. */
  readonly maxTokens: number;
  /** Whether one block's weights are held at a time. @default false */
  readonly lowMemory?: boolean | undefined;
  /** How matrices are multiplied by. @default "float" */
  readonly activations?: Activations | undefined;
  /** Of the kernels. @default as many as wasm takes */
  readonly threads?: number | "auto" | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What is known of blocks of a kind. */
interface Kind extends BlockBytes {
  readonly times: number;
  /** Of the first, which comes with what others share. */
  readonly first: BlockBytes;
}

/**
 * A model on a backend that computes nothing, loaded by the code that loads models. Of many blocks of a kind
 * two are loaded, as what blocks share is there for the second, and the others counted. Run it, and `peak`
 * tells the most bytes of tensors and kernels that this would take.
 */
export class CountedModel {
  /** Most bytes so far. */
  private most = 0;
  /** Bytes that blocks would hold which are not there. */
  private absent = 0;
  private made: Decoder | undefined;
  /** Bytes of what stands outside the blocks. */
  outerBytes = 0;
  /** What each block takes, where none is held before it. */
  readonly blockBytes: BlockBytes[] = [];

  private constructor(
    readonly spec: DecoderSpec,
    readonly backend: CountingBackend,
  ) {}

  /** @throws PenjingError for a model that cannot be told from its headers */
  static async open(given: StoredModel, options: CountedModelOptions): Promise<CountedModel> {
    const { threads } = options;
    const backend = await openCounting(threads === "auto" ? undefined : threads);
    const counted = new CountedModel(given.spec, backend);
    await counted.load(withoutNumbers(given, { staysPacked: true }), options);
    return counted;
  }

  get decoder(): Decoder {
    return this.made!;
  }

  private async load(model: StoredModel, options: CountedModelOptions): Promise<void> {
    const { backend } = this;
    const { maxTokens, lowMemory, ...loading } = options;
    this.made = await allOrNothing(async (own) => {
      const outer = await loadOuter(model, backend, loading);
      own({ dispose: () => disposeOuter(outer) });
      this.look();
      this.outerBytes = backend.memory().live;
      if (lowMemory) return new OneOfEach(model, backend, outer, maxTokens, loading);
      const blocks: BlockWeights[] = [];
      own({ dispose: () => blocks.forEach(disposeBlock) });
      await this.loadBlocks(model, blocks, loading);
      return new Decoder(backend, model.spec, outer, blocks, maxTokens, model.spec.context);
    });
    this.look();
  }

  private async loadBlocks(
    model: StoredModel,
    blocks: BlockWeights[],
    { activations, signal }: LoadOptions,
  ): Promise<void> {
    const { backend } = this;
    const matrices = new SharedMatrices();
    const kinds = new Map<string, Kind>();
    const rest = pacer(signal);
    for (const layer of model.spec.blocks.keys()) {
      await rest();
      const name = kindOf(model, layer);
      const kind = kinds.get(name);
      const { live } = backend.memory();
      if (kind?.times === 2) {
        this.most = Math.max(this.most, live + this.absent + kind.peak);
        this.absent += kind.held;
      } else {
        blocks.push(await loadBlock(model, backend, layer, { matrices, activations, signal }));
        const { live: after, peak } = backend.memory();
        const bytes = { held: after - live, peak: peak - live };
        const { times, first } = kind ?? { times: 0, first: bytes };
        kinds.set(name, { times: times + 1, first, ...bytes });
        this.look();
      }
      this.blockBytes.push(kinds.get(name)!.first);
    }
  }

  private look(): void {
    this.most = Math.max(this.most, this.backend.memory().peak + this.absent);
    this.backend.restartPeak();
  }

  /** Most bytes that some work takes beside what is there before. */
  during(work: () => void): number {
    this.look();
    const { live } = this.backend.memory();
    work();
    const { peak } = this.backend.memory();
    return peak - live;
  }

  /** Most bytes that loading took, and what ran so far. */
  get peak(): number {
    this.look();
    return this.most;
  }

  dispose(): void {
    this.made?.dispose();
    this.backend.dispose();
  }
}

/** Runs one block of each kind. */
class OneOfEach extends BlockByBlock {
  protected override get layers(): Iterable<number> {
    return blockKinds(this.stored);
  }
}

/** The first block of each kind that a model has, by number. */
export function blockKinds(model: StoredModel): Iterable<number> {
  const kinds = new Map<string, number>();
  for (const layer of model.spec.blocks.keys()) {
    const kind = kindOf(model, layer);
    if (!kinds.has(kind)) kinds.set(kind, layer);
  }
  return kinds.values();
}

/** What tells whether two blocks of a model are held alike. */
function kindOf({ spec, weights, packed, forms }: StoredModel, layer: number): string {
  const block = spec.blocks[layer];
  const own = blockName(spec, layer);
  const linears = sitesOf(block).map(({ name }) => {
    const weight = blockTensor(spec, layer, `${name}.weight`);
    return [weights.get(weight)?.dtype, packed.has(weight), forms.get(weight)];
  });
  const isTurned = weights.has(inputRotation(layer));
  const isLast = layer + 1 === spec.blocks.length;
  return JSON.stringify([block, linears, isTurned, isLast]).replaceAll(own, "");
}
