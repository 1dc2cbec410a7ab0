import type { Statistic } from "../statistic.js";
import { gemmSteps } from "../steps.js";

/**
 * [outFeatures, inFeatures], (2 / sequences) (R - R̂)ᵀX̂ with R the residual stream that a linear's outputs
 * are added to in the dense model, R̂ the same behind what is compressed, and X̂ the linear's inputs there,
 * token by token.
 */
export const residualMoment: Statistic = {
  name: "residualMoment",
  summary: "products of what the residual stream lacks with the inputs, (2 / sequences) (R − R̂)ᵀX̂",
  sees: "residual",
  shape: (inFeatures, outFeatures) => [outFeatures, inFeatures],
  *add(backend, batch, gathered, sequences, _, residual) {
    const { dense, compressed } = residual!;
    const lacking = backend.zeros(dense.shape);
    try {
      backend.ops.subtract(dense, compressed, lacking);
      const options = { transposeA: true, alpha: 2 / sequences, accumulate: true };
      yield* gemmSteps(backend, lacking, batch, gathered, options);
    } finally {
      lacking.dispose();
    }
  },
};
