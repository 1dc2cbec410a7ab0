import type { Backend } from "../../backend.js";
import type { LayerSpec, Site } from "../../model.js";
import type { Work } from "../../steps.js";
import type { Tensor } from "../../tensor.js";
import type { KeyValueCache } from "./key-value-cache.js";
import type { NormWeights } from "./norm.js";
import type { Segment } from "./segments.js";

/** What a layer has of the block that runs. */
export interface LayerRun {
  readonly backend: Backend;
  /** Index of the block. */
  readonly layer: number;
  /** How the rows of the input follow each other. */
  readonly segments: readonly Segment[];
  /** Positions that one sequence may have. */
  readonly maxPositions: number;
  /** Positions already seen of one sequence; of several, each segment has its own. */
  readonly cache: KeyValueCache | undefined;
  /** The parameters of the block's norms by their names. */
  readonly norms: Readonly<Record<string, NormWeights>>;
  /** One of the kind's scratch tensors as [rows of the input, cols]. */
  scratch(name: string, cols: number): Tensor;
  /**
   * Tables that are made once for all layers that give the same key, and made anew, longer, when they
   * have fewer rows than are asked for.
   */
  table(key: string, rows: number, make: () => readonly Tensor[]): readonly Tensor[];
  /** The steps of out = input Wᵀ + bias with a site's weight. */
  multiply(site: Site, input: Tensor, out: Tensor): Work;
}

/** How one kind of layer runs. */
export interface LayerKind<Spec = LayerSpec> {
  /** Columns of each scratch tensor that a forward takes, by name. */
  scratch(spec: Spec): Readonly<Record<string, number>>;
  /** The steps of x = layer(x), x [tokens, hiddenSize]. */
  forward(spec: Spec, x: Tensor, run: LayerRun): Work;
}
