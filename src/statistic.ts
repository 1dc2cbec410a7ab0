import type { Backend } from "./backend.js";
import type { WorkSteps } from "./steps.js";
import type { Tensor } from "./tensor.js";

/** What calibration did gather of a linear layer's inputs X [tokens, inFeatures]. */
export interface Statistics {
  /** Sequences that X was cut into. */
  readonly sequences: number;
  /** Rows of X. */
  readonly tokens: number;
  /** By the statistics' names: those that a method needs are there. */
  readonly tensors: Readonly<Record<string, Tensor>>;
}

/** The matrix R that turns a layer's inputs: x becomes x R. */
export interface InputTurn {
  /** w [rows, inFeatures] = w R, in place. */
  columns(w: Tensor): void;
  /** w [inFeatures, cols] = Rᵀ w, in place. */
  rows(w: Tensor): void;
}

/** The residual stream that a linear's outputs are added to, each [tokens, hiddenSize]. */
export interface Residual {
  readonly dense: Tensor;
  readonly compressed: Tensor;
}

/**
 * Something that calibration gathers batch by batch. After a rotation of the inputs it is turned,
 * read off another statistic, or, where it says neither, gathered again from the rotated block.
 */
export interface Statistic {
  readonly name: string;
  /** One line for the docs. */
  readonly summary: string;
  /**
   * What it is shown of a layer, batch by batch, each [tokens, inFeatures]: the inputs behind the blocks
   * as they are compressed so far, or with them those of the dense model, token by token, or these and
   * the residual streams of the two. What sees both must have `turn` or `from`; what sees the residual is
   * always gathered from the rotated block.
   */
  readonly sees: "input" | "both" | "residual";
  /**
   * The f32 tensor that is gathered; it begins as zeros.
   *
   * @param outFeatures of the first linear that reads the inputs
   */
  shape(inFeatures: number, outFeatures: number): readonly number[];
  /**
   * The steps of adding a batch. A step that takes time of its own, such as a plug-in's operation,
   * yields its promise.
   *
   * @param sequences those of all batches together
   * @param dense the dense model's inputs, for what sees them
   * @param residual for what sees it
   */
  add(
    backend: Backend,
    batch: Tensor,
    gathered: Tensor,
    sequences: number,
    dense?: Tensor,
    residual?: Residual,
  ): WorkSteps;
  /** Completes what was gathered, in place. */
  finish?(backend: Backend, gathered: Tensor): void;
  /** Makes of it what it is of turned inputs, in place. */
  turn?(backend: Backend, gathered: Tensor, turn: InputTurn): void;
  /** How another statistic, which is turned, tells it. */
  readonly from?:
    | {
        readonly statistic: string;
        /** @returns a new tensor */
        read(backend: Backend, other: Tensor, sequences: number): Promise<Tensor>;
      }
    | undefined;
}

/** Whether it compares the dense model's inputs with the compressed one's. */
export function comparesModels({ sees }: Pick<Statistic, "sees">): boolean {
  return sees !== "input";
}

export function disposeStatistics(statistics: Iterable<Statistics>): void {
  for (const { tensors } of statistics) {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }
}
