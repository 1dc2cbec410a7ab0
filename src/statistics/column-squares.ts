import type { Statistic } from "../statistic.js";
import { rowsOf } from "../tensor.js";

/** [inFeatures], the sum over tokens of x². */
export const columnSquares: Statistic = {
  name: "columnSquares",
  summary: "sums of squares of each input",
  sees: "input",
  shape: (inFeatures) => [inFeatures],
  add(backend, batch, gathered) {
    backend.ops.accumulateColumnSquares(batch, gathered);
    return [];
  },
  from: {
    statistic: "hessian",
    async read(backend, hessian, sequences) {
      const squares = backend.zeros([rowsOf(hessian)]);
      backend.ops.diagonal(hessian, squares);
      const diagonal = (await backend.read(squares)) as Float32Array;
      backend.write(
        squares,
        diagonal.map((h) => (h * sequences) / 2),
      );
      return squares;
    },
  },
};
