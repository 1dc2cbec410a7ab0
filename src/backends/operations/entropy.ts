import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, matrix, rule, vector } from "./rules.js";

export interface EntropyOptions {
  /** Factors on w², one for each element along a line that is normalised. @default ones */
  readonly scale?: Tensor | undefined;
  /** Divide by `scale` instead of multiplying. @default false */
  readonly inverse?: boolean | undefined;
  /** As long as `scale`: takes the derivatives by it. */
  readonly scaleGradient?: Tensor | undefined;
  /** Add the derivatives to what `gradient` and `scaleGradient` hold. @default false */
  readonly accumulate?: boolean | undefined;
}

export interface EntropyOperations {
  /**
   * The sum over rows of the entropy -sum p log p, in nats, where p is w² * scale [C] normalised
   * over a row of w. Importance that is zero, or too small for a normal float32 p, adds nothing and
   * has no derivative.
   *
   * @param w [R, C]
   * @param gradient [R, C], takes the derivatives by w
   */
  entropyRows(w: Tensor, gradient: Tensor, options?: EntropyOptions): Promise<number>;
  /** The same over columns: p is w² * scale [R] normalised over a column. */
  entropyColumns(w: Tensor, gradient: Tensor, options?: EntropyOptions): Promise<number>;
}

export const entropy: Contracts<EntropyOperations> = {
  entropyRows: {
    check(w, gradient, options) {
      lineRule("entropyRows", w, gradient, colsOf(w), options);
    },
  },
  entropyColumns: {
    check(w, gradient, options) {
      lineRule("entropyColumns", w, gradient, rowsOf(w), options);
    },
  },
};

/** Requires operands of a loss over lines of `length`. */
export function lineRule(
  operation: string,
  w: Tensor,
  gradient: Tensor,
  length: number,
  { scale, scaleGradient }: EntropyOptions = {},
): void {
  dtype(operation, "w", w, "f32");
  matrix(operation, "gradient", gradient, rowsOf(w), colsOf(w));
  if (scale) vector(operation, "scale", scale, length);
  if (scaleGradient) vector(operation, "scaleGradient", scaleGradient, length);
  rule(
    operation,
    scale !== undefined || scaleGradient === undefined,
    "scaleGradient was given without a scale; leave it out.",
  );
}
