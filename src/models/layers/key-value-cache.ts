import type { Argument } from "../../arguments.js";
import type { Backend } from "../../backend.js";
import { attentionOf, type DecoderSpec } from "../../model.js";
import { BYTES_PER_ELEMENT, type Tensor } from "../../tensor.js";

/** How keys and values are held: as float32, or as int8 with an f32 scale for each head of a token. */
export type KvCache = "float" | "int8";

export const KV_CACHE: Argument = {
  what: '"int8" or "float"',
  fits: (value) => value === "int8" || value === "float",
};

/** Of keys and of values that are held as int8, [capacity, kvHeads]. */
export interface HeadScales {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** Keys and values of the positions seen so far, one pair of [capacity, kvHeads*headDim] a layer. */
export class KeyValueCache {
  /** Positions filled. */
  length = 0;
  /** f32, or u8 that hold codes as `roundHeads` writes them. */
  readonly keys: readonly Tensor[];
  readonly values: readonly Tensor[];
  /** Of each layer that holds codes. */
  readonly scales: readonly (HeadScales | undefined)[];

  /**
   * @param home where those of a layer lie
   * @param kind what is asked for. "int8" holds floats all the same where operations run on a device (WebGPU),
   *   which has no kernels for codes
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
    this.keys = make();
    this.values = make();
    this.scales = spec.blocks.map((block, layer) => {
      if (!isRounded(layer)) return undefined;
      const shape = [capacity, attentionOf(block).kvHeads] as const;
      return { keys: home(layer).zeros(shape), values: home(layer).zeros(shape) };
    });
  }

  /** How keys and values are held. */
  get kind(): KvCache {
    return this.scales.some((scales) => scales) ? "int8" : "float";
  }

  /** All that is held of a layer. */
  private tensorsOf(layer: number): Tensor[] {
    const { keys, values } = this.scales[layer] ?? {};
    const scales = keys && values ? [keys, values] : [];
    return [this.keys[layer], this.values[layer], ...scales];
  }

  /** Bytes of what is held of a layer. */
  bytesOf(layer: number): number {
    return this.tensorsOf(layer).reduce(
      (sum, { size, dtype }) => sum + size * BYTES_PER_ELEMENT[dtype],
      0,
    );
  }

  dispose(): void {
    for (const layer of this.keys.keys()) {
      for (const tensor of this.tensorsOf(layer)) tensor.dispose();
    }
  }
}
