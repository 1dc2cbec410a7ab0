import type { StoredDType } from "./tensor.js";

/** A tensor as a checkpoint lists it, without its bytes. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
}

/**
 * How the weights of a checkpoint are stored. All bytes are little-endian, as in safetensors. For
 * every weight that is not refused, `unpack(weight, pack(weight, bytes))` equals `bytes`.
 */
export interface Layout {
  readonly name: string;
  /** Raised when stored bytes change their meaning. */
  readonly version: number;
  /**
   * Why this weight cannot be stored so, judged by its shape and dtype; undefined when it can. The
   * sentence completes "<name>: " and names the cure.
   */
  refusal(weight: TensorEntry): string | undefined;
  /** The tensors that `pack` makes, in order, known before packing so that shards can be planned. */
  entries(weight: TensorEntry): readonly TensorEntry[];
  /**
   * @param bytes the weight's elements, row-major, in its own dtype
   * @returns the bytes of each of `entries(weight)`, by name
   * @throws PenjingError when the weight is refused or its values do not fit the layout
   */
  pack(weight: TensorEntry, bytes: Uint8Array): ReadonlyMap<string, Uint8Array>;
  /**
   * The weights that a file's tensors hold in this layout. Tensors that belong to none of them are
   * stored as they are.
   *
   * @throws PenjingError when a part of a weight is missing or contradicts another
   */
  weights(stored: readonly TensorEntry[]): readonly TensorEntry[];
  /**
   * @param parts the bytes of each of `entries(weight)`, by name
   * @returns the weight's elements, row-major, in its own dtype
   * @throws PenjingError when the parts are not what `pack` could have made
   */
  unpack(weight: TensorEntry, parts: ReadonlyMap<string, Uint8Array>): Uint8Array;
}
