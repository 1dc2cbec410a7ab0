import type { Statistic } from "../statistic.js";
import { columnSquares } from "./column-squares.js";
import { crossMoment } from "./cross-moment.js";
import { hessian } from "./hessian.js";

/** Every statistic by name. */
export const statistics: Readonly<Record<string, Statistic>> = {
  columnSquares,
  crossMoment,
  hessian,
};
