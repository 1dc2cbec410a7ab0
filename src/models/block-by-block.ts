/** Models of which one block's weights are in memory at a time. */
import type { Backend } from "../backend.js";
import { pacer } from "../run.js";
import type { Work } from "../steps.js";
import { isRounded } from "./activations.js";
import { type Ahead, Decoder, disposeBlock, disposeOuter, type OuterWeights } from "./decoder.js";
import { wholeTexts } from "./layers/segments.js";
import { type LoadOptions, loadBlock, loadOuter } from "./load.js";
import type { StoredModel } from "./stored.js";

/** Most bytes of the residual streams of windows that go through the blocks together, unless asked otherwise. */
const STREAM_BYTES = 2 ** 28;

export interface BlockByBlockOptions extends Pick<LoadOptions, "activations"> {
  /** Most bytes of activations that are held; one window's at least. @default 256 MiB */
  readonly streamBytes?: number | undefined;
}

/**
 * Scores windows as `Decoder` does, bit for bit. Each block is loaded, run over some windows and freed;
 * their residual streams, f32 [tokens, hiddenSize] each, lie on the JavaScript heap meanwhile.
 */
export class BlockByBlock extends Decoder implements Ahead {
  override readonly ahead = this;
  private readonly streams = new Map<Int32Array, Float32Array>();
  /** Of blocks that were there. */
  private hasRounded = false;

  constructor(
    protected readonly stored: StoredModel,
    backend: Backend,
    outer: OuterWeights,
    maxTokens: number,
    private readonly options: BlockByBlockOptions = {},
  ) {
    super(backend, stored.spec, outer, [], maxTokens, stored.spec.context);
  }

  /** The blocks that windows go through, by number. */
  protected get layers(): Iterable<number> {
    return this.spec.blocks.keys();
  }

  get blockCount(): number {
    return this.spec.blocks.length;
  }

  atOnce(window: number): number {
    const { streamBytes = STREAM_BYTES } = this.options;
    return Math.max(1, Math.floor(streamBytes / (4 * window * this.spec.hiddenSize)));
  }

  override get roundsActivations(): boolean {
    return super.roundsActivations || this.hasRounded;
  }

  async *run(
    windows: readonly Int32Array[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<undefined, void, void> {
    const { backend, streams } = this;
    const { activations } = this.options;
    const rest = pacer(signal);
    streams.clear();
    for (const window of windows) {
      await rest();
      streams.set(
        window,
        (await backend.read(this.embed(window, wholeTexts(1, window.length)))) as Float32Array,
      );
    }
    for (const layer of this.layers) {
      const block = await loadBlock(this.stored, backend, layer, { activations, signal });
      this.hasRounded ||= isRounded([block]);
      try {
        for (const window of windows) {
          // Many short ones take seconds together, and none alone takes a turn.
          await rest();
          const hidden = this.place(window);
          await this.pace(this.runner.steps(hidden, block), signal);
          streams.set(window, (await backend.read(hidden)) as Float32Array);
        }
      } finally {
        disposeBlock(block);
      }
      yield;
    }
  }

  /** Puts the stream of a window where blocks and head read it. */
  private place(window: Int32Array) {
    const hidden = this.backend.rows(this.hidden, 0, window.length);
    this.backend.write(hidden, this.streams.get(window)!);
    return hidden;
  }

  /** @param window one that was given to `run` */
  override *forward(window: Int32Array): Work {
    this.place(window);
    this.streams.delete(window);
    yield;
  }

  override dispose(): void {
    this.streams.clear();
    super.dispose();
  }
}

/** Loads what stands outside the blocks of a model, whose blocks are loaded when they are run. */
export async function loadBlockByBlock(
  model: StoredModel,
  backend: Backend,
  maxTokens: number,
  options: BlockByBlockOptions & Pick<LoadOptions, "signal"> = {},
): Promise<Decoder> {
  const outer = await loadOuter(model, backend, options);
  try {
    return new BlockByBlock(model, backend, outer, maxTokens, options);
  } catch (error) {
    disposeOuter(outer);
    throw error;
  }
}
