import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, rule } from "./rules.js";

/** Stretches of `width` columns, of which one begins every `stride` columns from `first` on. */
export interface ColumnStretches {
  readonly first: number;
  readonly width: number;
  readonly stride: number;
}

export interface ColumnsOperations {
  /** out [T, C] = some columns of x [T, D]: as many stretches, side by side, as fill C. */
  takeColumns(x: Tensor, out: Tensor, stretches: ColumnStretches): void;
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
};
