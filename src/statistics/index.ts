import type { Statistic } from "../statistic.js";
import { columnSquares } from "./column-squares.js";
import { crossMoment } from "./cross-moment.js";
import { hessian } from "./hessian.js";
import { residualMoment } from "./residual-moment.js";

/** Every statistic by name. */
export const statistics: Readonly<Record<string, Statistic>> = {
  columnSquares,
  crossMoment,
  hessian,
  residualMoment,
};
