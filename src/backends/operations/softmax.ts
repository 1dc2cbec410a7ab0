import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, matrix, rule, sameSize, vector } from "./rules.js";

export interface SoftmaxOperations {
  /** out = softmax(x / temperature) row by row. `out` may be x. */
  softmax(x: Tensor, out: Tensor, temperature: number): void;
  /**
   * out [T, 2] = where the largest element of each row of x [T, C] stands, and the element itself.
   * The first of equals counts, and NaN as the largest of all. Places are exact up to 2^24.
   */
  argmax(x: Tensor, out: Tensor): void;
  /** out [T] = -log softmax(logits [T, V])[targets i32 [T]], in nats. */
  crossEntropy(logits: Tensor, targets: Tensor, out: Tensor): void;
  /**
   * out [T] = KL(softmax(reference [T, V]) || softmax(logits [T, V])) in nats, row by row: the sum over
   * places of p log(p / q).
   */
  klDivergence(reference: Tensor, logits: Tensor, out: Tensor): void;
}

export const softmax: Contracts<SoftmaxOperations> = {
  softmax: {
    rows: [0, 1],
    check(x, out, temperature) {
      sameSize("softmax", x, out);
      rule("softmax", temperature > 0, `temperature ${temperature} must be positive.`);
    },
  },
  argmax: {
    rows: [0, 1],
    check(x, out) {
      dtype("argmax", "x", x, "f32");
      matrix("argmax", "out", out, rowsOf(x), 2);
      rule("argmax", colsOf(x) > 0, "x has no columns; give one at least.");
    },
  },
  crossEntropy: {
    rows: [0, 1, 2],
    check(logits, targets, out) {
      dtype("crossEntropy", "targets", targets, "i32");
      vector("crossEntropy", "out", out, rowsOf(logits));
      rule(
        "crossEntropy",
        targets.size === rowsOf(logits),
        "one target per row of logits is needed.",
      );
    },
  },
  klDivergence: {
    rows: [0, 1, 2],
    check(reference, logits, out) {
      dtype("klDivergence", "logits", logits, "f32");
      matrix("klDivergence", "reference", reference, rowsOf(logits), colsOf(logits));
      vector("klDivergence", "out", out, rowsOf(logits));
    },
  },
};
