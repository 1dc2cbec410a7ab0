import type { Statistic } from "../statistic.js";
import { gemmSteps } from "../steps.js";

/**
 * [inFeatures, inFeatures], (2 / sequences) XᵀX̂ with X the inputs in the dense model and X̂ those behind
 * the compressed blocks, token by token. Not symmetric.
 */
export const crossMoment: Statistic = {
  name: "crossMoment",
  summary: "products of the dense model's inputs with the compressed one's, (2 / sequences) XᵀX̂",
  sees: "both",
  shape: (inFeatures) => [inFeatures, inFeatures],
  add: (backend, batch, gathered, sequences, dense) =>
    gemmSteps(backend, dense!, batch, gathered, {
      transposeA: true,
      alpha: 2 / sequences,
      accumulate: true,
    }),
  turn(_, gathered, turn) {
    turn.columns(gathered);
    turn.rows(gathered);
  },
};
