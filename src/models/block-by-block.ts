/** Models of which one block's weights are in memory at a time. */
import type { Backend } from "../backend.js";
import { pacer } from "../run.js";
import type { Work } from "../steps.js";
import { type Ahead, Decoder, disposeBlock, disposeOuter, type OuterWeights } from "./decoder.js";
import { wholeTexts } from "./layers/segments.js";
import { loadBlock, loadOuter } from "./load.js";
import type { StoredModel } from "./stored.js";

/** Most bytes of the residual streams of windows that go through the blocks together. */
const STREAM_BYTES = 2 ** 28;

/**
 * Scores windows as `Decoder` does, bit for bit. Each block is loaded, run over some windows and freed;
 * their residual streams, f32 [tokens, hiddenSize] each, lie on the JavaScript heap meanwhile.
 */
class BlockByBlock extends Decoder implements Ahead {
  override readonly ahead = this;
  private readonly streams = new Map<Int32Array, Float32Array>();

  constructor(
    private readonly model: StoredModel,
    backend: Backend,
    outer: OuterWeights,
    maxTokens: number,
  ) {
    super(backend, model.spec, outer, [], maxTokens, model.spec.context);
  }

  get blockCount(): number {
    return this.spec.blocks.length;
  }

  atOnce(window: number): number {
    return Math.max(1, Math.floor(STREAM_BYTES / (4 * window * this.spec.hiddenSize)));
  }

  async *run(
    windows: readonly Int32Array[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<undefined, void, void> {
    const { backend, blockCount, streams } = this;
    const rest = pacer(signal);
    streams.clear();
    for (const window of windows) {
      await rest();
      streams.set(
        window,
        (await backend.read(this.embed(window, wholeTexts(1, window.length)))) as Float32Array,
      );
    }
    for (let layer = 0; layer < blockCount; layer++) {
      const block = await loadBlock(this.model, backend, layer, { signal });
      try {
        for (const window of windows) {
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
  signal?: AbortSignal,
): Promise<Decoder> {
  const outer = await loadOuter(model, backend, { signal });
  try {
    return new BlockByBlock(model, backend, outer, maxTokens);
  } catch (error) {
    disposeOuter(outer);
    throw error;
  }
}
