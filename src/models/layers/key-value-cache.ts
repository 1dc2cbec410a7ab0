import type { Backend } from "../../backend.js";
import { attentionOf, type DecoderSpec } from "../../model.js";
import { BYTES_PER_ELEMENT, type Tensor } from "../../tensor.js";

/** How keys and values are held: as floats, or rounded to int8 with an f32 scale for each head of a token. */
export type KvCache = "float" | "int8";

/** Keys and values of the positions seen so far, one pair of [capacity, kvHeads*headDim] a layer. */
export class KeyValueCache {
  /** Positions filled. */
  length = 0;
  /** f32, or codes of u8 as `roundHeads` writes them. */
  readonly keys: readonly Tensor[];
  readonly values: readonly Tensor[];
  /** Of the codes, [capacity, kvHeads] a layer; undefined for layers that hold floats. */
  readonly keyScales: readonly (Tensor | undefined)[];
  readonly valueScales: readonly (Tensor | undefined)[];

  /**
   * @param home where those of a layer lie
   * @param kind "int8" holds floats all the same where kernels run on a device that has none for it (WebGPU)
   */
  constructor(
    home: (layer: number) => Backend,
    spec: DecoderSpec,
    readonly capacity: number,
    kind: KvCache = "float",
  ) {
    const isRounded = (layer: number) => kind === "int8" && home(layer).runsAtOnce;
    const make = () =>
      spec.blocks.map((block, layer) => {
        const { kvHeads, headDim } = attentionOf(block);
        return home(layer).zeros([capacity, kvHeads * headDim], isRounded(layer) ? "u8" : "f32");
      });
    const makeScales = () =>
      spec.blocks.map((block, layer) =>
        isRounded(layer) ? home(layer).zeros([capacity, attentionOf(block).kvHeads]) : undefined,
      );
    this.keys = make();
    this.values = make();
    this.keyScales = makeScales();
    this.valueScales = makeScales();
  }

  /** How keys and values are held; "int8" where they are in some layer. */
  get kind(): KvCache {
    return this.keyScales.some((scales) => scales) ? "int8" : "float";
  }

  /** Bytes of those of a layer. */
  bytesOf(layer: number): number {
    const { keys, values, keyScales, valueScales } = this;
    const held = [keys, values, keyScales, valueScales].map((all) => all[layer]);
    return held.reduce((sum, tensor) => {
      return sum + (tensor ? tensor.size * BYTES_PER_ELEMENT[tensor.dtype] : 0);
    }, 0);
  }

  dispose(): void {
    const { keys, values, keyScales, valueScales } = this;
    for (const tensor of [...keys, ...values, ...keyScales, ...valueScales]) tensor?.dispose();
  }
}
