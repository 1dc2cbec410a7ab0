import type { LayerSpec, Site } from "../../model.js";
import type { Tensor } from "../../tensor.js";
import type { KeyValueCache } from "./key-value-cache.js";

/** What a layer has of the block that runs. */
export interface LayerRun {
  /** Index of the block. */
  readonly layer: number;
  /** Sequences that the rows of the input are cut into, all of one length. */
  readonly sequences: number;
  /** Positions already seen; only with one sequence. */
  readonly cache: KeyValueCache | undefined;
  /** The gains of the block's norms by their names. */
  readonly norms: Readonly<Record<string, Tensor>>;
  /** The steps of out = input Wᵀ + bias with a site's weight. */
  multiply(site: Site, input: Tensor, out: Tensor): Generator<void, void, void>;
}

/** How much a runner is to hold. */
export interface Room {
  /** Rows that one call may have. */
  readonly maxTokens: number;
  /** Positions that one sequence may have. */
  readonly maxPositions: number;
}

/** Runs the layers of one kind, in scratch that is made once and as wide as the widest needs it. */
export interface LayerRunner {
  /** The steps of x = layer(x), x [tokens, hiddenSize]. */
  forward(spec: LayerSpec, x: Tensor, run: LayerRun): Generator<void, void, void>;
  dispose(): void;
}

/** The most columns that some layers need of a scratch tensor. */
export function widest<Spec>(specs: readonly Spec[], width: (spec: Spec) => number): number {
  return Math.max(0, ...specs.map(width));
}
