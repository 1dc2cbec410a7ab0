import type { Operations } from "../../backend.js";
import { colsOf, f32, rowsOf } from "../../tensor.js";
import { MOST_LEVEL, roundScale, SIGNED_LEVELS } from "../operations/fit-scales.js";
import { LARGEST_REFINED } from "../operations/refine-grid.js";
import { multipleOf } from "./grid-blocks.js";
import { GridData } from "./grid-data.js";

/** One row at a time: d is what a value changes by, and takes d * h[j] off the gradient. */
export const refineGrid: Operations["refineGrid"] = async (grid, gradient, h, options) => {
  const [rows, cols] = [rowsOf(gradient), colsOf(gradient)];
  const { groupSize, scaleType } = options;
  const [gData, hData] = [f32(gradient), f32(h)];
  const data = new GridData(grid, cols, options);
  const row = new Float64Array(cols);
  let fall = 0;

  /** Moves values of a row by changes of some columns, by column from `first` on. */
  const move = (first: number, changes: readonly number[]) => {
    let [linear, square] = [0, 0];
    for (const [i, change] of changes.entries()) {
      linear += change * row[first + i];
      for (const [j, other] of changes.entries()) {
        square += change * other * hData[(first + i) * cols + first + j];
      }
    }
    return { fall: 2 * linear - square, linear, square };
  };
  const apply = (first: number, changes: readonly number[]) => {
    for (const [i, change] of changes.entries()) {
      for (let k = 0; k < cols; k++) row[k] -= change * hData[(first + i) * cols + k];
    }
  };
  /**
   * Moves what a group's columns share to where f is least, as it is rounded, and tells where that is.
   *
   * @param levels what each value changes by with 1 of it
   */
  const moveShared = (
    first: number,
    levels: readonly number[],
    before: number,
    rounded: (wanted: number) => number,
  ): number => {
    const { linear, square } = move(first, levels);
    if (!(square > 0)) return before;
    const after = rounded(Math.fround(before + linear / square));
    const step = after - before;
    const gained = 2 * step * linear - step * step * square;
    if (!(gained > 0)) return before;
    fall += gained;
    apply(
      first,
      levels.map((level) => level * step),
    );
    return after;
  };

  for (let r = 0; r < rows; r++) {
    row.set(gData.subarray(r * cols, (r + 1) * cols));
    for (let first = 0; first < cols; first += groupSize) {
      const end = Math.min(cols, first + groupSize);
      for (let j = first; j < end; j++) {
        const group = data.scaleOf(r, j);
        const curvature = hData[j * (cols + 1)];
        if (!data.isKept(r, j) || !(curvature > 0)) continue;
        const before = data.shape.value(data.codeOf(r, j), group);
        const code = data.shape.code(Math.fround(before + row[j] / curvature), group);
        const change = data.shape.value(code, group) - before;
        const gained = move(j, [change]).fall;
        if (change === 0 || !(gained > 0)) continue;
        fall += gained;
        data.setCode(r, j, code);
        apply(j, [change]);
      }
      if (end - first > LARGEST_REFINED) continue;
      const group = data.scaleOf(r, first);
      const units = data.unitsOf(r, first);
      const levels = Array.from({ length: end - first }, (_, i) => {
        return data.shape.level(data.codeOf(r, first + i), group);
      });
      const [least, most] = grid.minima ? [0, MOST_LEVEL] : SIGNED_LEVELS;
      const scale = moveShared(first, levels, group.scale, (wanted) =>
        units ? multipleOf(units[0], wanted, least, most) : roundScale(wanted, scaleType),
      );
      let { minimum } = group;
      if (units && minimum !== undefined) {
        const unit = units[1]!;
        const ones = levels.map(() => -1);
        minimum = moveShared(first, ones, minimum, (wanted) => multipleOf(unit, wanted, 0, most));
      }
      data.setScale(r, first, { ...group, scale, minimum });
    }
    gData.set(row, r * cols);
  }
  return fall;
};
