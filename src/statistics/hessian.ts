import type { Statistic } from "../statistic.js";
import { operationSteps } from "../steps.js";

/** [inFeatures, inFeatures], (2 / sequences) XᵀX, both triangles. */
export const hessian: Statistic = {
  name: "hessian",
  summary: "second moments of the inputs, (2 / sequences) XᵀX",
  sees: "input",
  shape: (inFeatures) => [inFeatures, inFeatures],
  add: (backend, batch, gathered, sequences) =>
    operationSteps(backend, "accumulateHessian", batch, gathered, 2 / sequences),
  finish: (backend, gathered) => backend.ops.mirrorUpper(gathered),
  turn(backend, gathered, turn) {
    turn.columns(gathered);
    turn.rows(gathered);
    // Rounding may tell the triangles apart, and methods read either.
    backend.ops.mirrorUpper(gathered);
  },
};
