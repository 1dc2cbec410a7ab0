import { quantileSorted } from "d3-array";
import { type Figure, panelsOf } from "../figure.js";
import { perplexityText } from "../numbers.js";
import type { Result, Score } from "../result.js";
import { domainOf, type Spread, spreadChart } from "../spread-chart.js";
import { NONE } from "../table.js";

/** The perplexity of each window, rising. */
function windowPerplexities({ windowNll }: Score): number[] {
  return windowNll
    .map((nll) => Math.exp(nll))
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
}

const WHEN = ["before", "after"] as const;

function spreadsOf(evaluation: NonNullable<Result["evaluation"]>): Spread[] {
  return WHEN.map((when) => {
    const { perplexity } = evaluation[when];
    const text = `${when}: ${perplexityText(perplexity)}`;
    return { name: text, values: windowPerplexities(evaluation[when]), middle: perplexity, text };
  });
}

export function perplexityFigure(results: readonly Result[]): Figure {
  const all = results.flatMap(({ evaluation }) => (evaluation ? spreadsOf(evaluation) : []));
  return {
    id: "perplexity",
    title: "Perplexity before and after",
    caption:
      "How surprised the model is by a text that it was not calibrated on: of how many equally likely tokens each next one seems to come. Lower is better. Some places of a text are harder than others, so the spread over its windows stands beside the figure of the whole.",
    ...panelsOf(results, ({ name, evaluation }) => {
      if (!evaluation) return "No perplexity was measured: compress with --eval and a text.";
      const spreads = spreadsOf(evaluation);
      return {
        chart: spreadChart({
          label: `Perplexities of the windows before and after, ${name}`,
          spreads,
          xName: "perplexity",
          // One axis for all, so that they can be compared.
          domain: domainOf(all),
          meanings: ["one window each", "the whole text"],
        }),
        table: {
          columns: [
            ...["model", "perplexity", "lowest", "lower quarter", "median", "upper quarter"],
            ...["highest", "windows", "tokens each"],
          ],
          rows: WHEN.map((when, i) => [
            when,
            perplexityText(evaluation[when].perplexity),
            ...[0, 0.25, 0.5, 0.75, 1].map((share) => {
              const value = quantileSorted([...spreads[i].values], share);
              return value === undefined ? NONE : perplexityText(value);
            }),
            ...[evaluation[when].windows, evaluation[when].window].map(String),
          ]),
        },
      };
    }),
  };
}
