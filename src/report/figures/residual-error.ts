import { extent } from "d3-array";
import { type Figure, panelsOf } from "../figure.js";
import { lineChart } from "../line-chart.js";
import { significant } from "../numbers.js";
import type { Result } from "../result.js";

export function residualErrorFigure(results: readonly Result[]): Figure {
  const errors = results.flatMap(({ blocks }) => blocks.map((one) => one.residualError ?? 0));
  const [low = 1, high = 1] = extent(errors.filter((error) => error > 0));
  return {
    id: "residual-error",
    title: "Error that goes from block to block",
    caption:
      "How far the numbers that one block hands to the next (the residual stream) are from those in the original model, on the calibration text: the squared difference by the squared length. Errors of earlier blocks are in it; where the line falls, a block made up for some of them.",
    ...panelsOf(results, ({ name, blocks }) => {
      const measured = blocks.filter(({ residualError }) => residualError !== undefined);
      if (!measured.some(({ residualError }) => residualError! > 0)) {
        return "It was not measured, as the compressed model ran alone: compress with --anchor, and both run.";
      }
      const points = measured.map(({ block, residualError }) => {
        const y = residualError!;
        return { x: block, y, text: `behind block ${block}: ${significant(y)}` };
      });
      return {
        chart: lineChart({
          label: `Line chart of the residual stream's error by block, ${name}`,
          series: [{ name: "residual stream", points }],
          yDomain: [low, high],
          ...{ xName: "block", yName: "relative error" },
        }),
        table: {
          columns: ["block", "relative error"],
          rows: points.map(({ x, y }) => [String(x), significant(y)]),
        },
      };
    }),
  };
}
