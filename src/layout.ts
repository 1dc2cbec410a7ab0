import type { Form, Leaf } from "./form.js";
import type { PluginId } from "./plugin-id.js";
import type { StoredDType } from "./tensor.js";

/** A tensor as a checkpoint lists it, without its bytes. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
}

/** A tensor with its bytes: little-endian elements, row-major. */
export interface FinishedTensor extends TensorEntry {
  readonly bytes: Uint8Array;
}

/** Key in a safetensors file's `__metadata__` that says how its weights are stored. */
export const LAYOUT_KEY = "penjing.layout";

/** What the tensors of a packed weight do not tell of it, so that the file's metadata must. */
export interface WeightFacts {
  /** [rows, cols] of the weight; absent when its tensors tell. */
  readonly shape?: readonly [rows: number, cols: number] | undefined;
  /** Values that are stored; absent when the shape tells. */
  readonly values?: number | undefined;
}

/** How quantized weights are stored that other programs read. */
export interface CodesExchange {
  /**
   * Why a weight cannot be stored so; undefined when it can. The sentence completes "<name>: " and names
   * the cure.
   *
   * @param form how the weight is held, a leaf on a grid or anything else
   */
  refusal(form: Form<unknown>): string | undefined;
  /**
   * What a part of a weight is stored as in the place of what forms/packed-grid.ts says: undefined for
   * nothing. Without it all parts are stored as there.
   *
   * @param part its name in the leaf
   */
  part?(leaf: Leaf<unknown>, weightName: string, part: string, tensor: TensorEntry): StoredPart;
}

/** A tensor in the place of another, and its bytes from those of the other; undefined for none. */
export type StoredPart =
  | { readonly entry: TensorEntry; convert(bytes: Uint8Array): Uint8Array }
  | undefined;

/**
 * How the weights of a checkpoint are stored. All bytes are little-endian, as in safetensors. For
 * every weight that is not refused, `unpack(weight, pack(weight, bytes))` equals `bytes`, but for the
 * sign of zeros that are left out.
 */
export interface Layout {
  readonly name: string;
  /** Raised when stored bytes change their meaning. */
  readonly version: number;
  /** The newest version, where some files have another than `version`. @default version */
  readonly newest?: number | undefined;
  /** The version of a file of weights with these forms, from `version` to `newest`. @default version */
  versionOf?(forms: Iterable<Form<unknown>>): number;
  /**
   * Weights that it can hold: those with at most 2 non-zeros in each group of 4 columns, any, or those
   * that are quantized, as forms: it packs no plain weight.
   */
  readonly holds: "2:4" | "any" | "codes";
  /** Whether every row of a weight is a row of each of its parts, so that a few can be packed alone. */
  readonly byRows: boolean;
  /** The plug-in that brings it, as the registry says. */
  readonly plugin?: PluginId | undefined;
  /** What speaks against choosing it, as a sentence. */
  readonly warning?: string | undefined;
  /** What of it was confirmed on the devices that read it, and what not; goes into the metadata. */
  readonly confirmed?: string | undefined;
  /** Texts that go beside the weights, by file name. */
  readonly files?: Readonly<Record<string, string>> | undefined;
  /** The same layout with weights padded with zeros to the next shape that it can take. */
  readonly padded?: Layout | undefined;
  /**
   * Why this weight cannot be stored so, judged by its name, shape and dtype; undefined when it can.
   * The sentence completes "<name>: " and names the cure.
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
  /** What the metadata must record of a weight; undefined when its tensors tell everything. */
  facts?(weight: TensorEntry): WeightFacts | undefined;
  /** The layout of a file whose metadata records these facts, by the weights' names. */
  withFacts?(facts: ReadonlyMap<string, WeightFacts>): Layout;
  /**
   * Facts that follow from a weight's values alone. A layout that has this packs only weights whose
   * facts it was given with `withFacts`.
   *
   * @param bytes the weight's elements, row-major, in its own dtype
   */
  measure?(weight: TensorEntry, bytes: Uint8Array): WeightFacts;
  /** Of layouts that hold codes, where other programs read them: config.json then tells the forms. */
  readonly exchange?: CodesExchange | undefined;
  /**
   * Keys that config.json must have for the programs that read this layout.
   *
   * @param left names of the linear layers that are not packed
   * @param forms of weights that are quantized, by name
   */
  configKeys?(
    left: readonly string[],
    forms: ReadonlyMap<string, Form<unknown>>,
  ): Readonly<Record<string, unknown>>;
}
