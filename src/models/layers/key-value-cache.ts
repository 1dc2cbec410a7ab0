import type { Backend } from "../../backend.js";
import { attentionOf, type DecoderSpec } from "../../model.js";
import type { Tensor } from "../../tensor.js";

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
      spec.blocks.map((block) => {
        const { kvHeads, headDim } = attentionOf(block);
        return backend.zeros([capacity, kvHeads * headDim]);
      });
    this.keys = make();
    this.values = make();
  }

  dispose(): void {
    for (const tensor of [...this.keys, ...this.values]) tensor.dispose();
  }
}
