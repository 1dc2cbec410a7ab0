import type { Backend } from "../../backend.js";
import { attentionOf, type DecoderSpec } from "../../model.js";
import type { Tensor } from "../../tensor.js";

/** Keys and values of the positions seen so far, one pair of [capacity, kvHeads*headDim] a layer. */
export class KeyValueCache {
  /** Positions filled. */
  length = 0;
  readonly keys: readonly Tensor[];
  readonly values: readonly Tensor[];

  /** @param home where those of a layer lie */
  constructor(
    home: (layer: number) => Backend,
    spec: DecoderSpec,
    readonly capacity: number,
  ) {
    const make = () =>
      spec.blocks.map((block, layer) => {
        const { kvHeads, headDim } = attentionOf(block);
        return home(layer).zeros([capacity, kvHeads * headDim]);
      });
    this.keys = make();
    this.values = make();
  }

  /** Bytes of those of a layer. */
  bytesOf(layer: number): number {
    return 4 * (this.keys[layer].size + this.values[layer].size);
  }

  dispose(): void {
    for (const tensor of [...this.keys, ...this.values]) tensor.dispose();
  }
}
