import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, matrix, rule } from "./rules.js";

/** Stretches of `width` columns, of which one begins every `stride` columns from `first` on. */
export interface ColumnStretches {
  readonly first: number;
  readonly width: number;
  readonly stride: number;
}

export interface ColumnsOperations {
  /** out [T, C] = some columns of x [T, D]: as many stretches, side by side, as fill C. */
  takeColumns(x: Tensor, out: Tensor, stretches: ColumnStretches): void;
  /**
   * Puts the columns of a matrix into another order: column j of `out` is column order[j] of `x`.
   *
   * @param x [R, C], f32 or u8
   * @param order i32 [C], every column once
   * @param out [R, C] of the same dtype; is not x
   */
  orderColumns(x: Tensor, order: Tensor, out: Tensor): Promise<void>;
}

export const columns: Contracts<ColumnsOperations> = {
  takeColumns: {
    rows: [0, 1],
    check(x, out, { first, width, stride }) {
      dtype("takeColumns", "x", x, "f32");
      dtype("takeColumns", "out", out, "f32");
      const [from, to] = [colsOf(x), colsOf(out)];
      const count = to / width;
      rule(
        "takeColumns",
        rowsOf(x) === rowsOf(out) &&
          Number.isInteger(count) &&
          first >= 0 &&
          stride >= width &&
          first + (count - 1) * stride + width <= from,
        () =>
          `out [${out.shape}] cannot be filled with stretches of ${width} columns, one every ${stride} from ${first} on, of x [${x.shape}].`,
      );
    },
  },
  orderColumns: {
    check(x, order, out) {
      rule("orderColumns", x !== out, "out is x; give another tensor.");
      rule(
        "orderColumns",
        x.dtype === "f32" || x.dtype === "u8",
        `x is ${x.dtype}, must be f32 or u8.`,
      );
      matrix("orderColumns", "out", out, rowsOf(x), colsOf(x), x.dtype);
      dtype("orderColumns", "order", order, "i32");
      rule(
        "orderColumns",
        order.size === colsOf(x),
        `order has ${order.size} elements, must have ${colsOf(x)}.`,
      );
    },
  },
};
