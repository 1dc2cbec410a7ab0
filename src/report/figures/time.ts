import { rollup, sum } from "d3-array";
import { barChart } from "../bar-chart.js";
import { type Figure, panelsOf } from "../figure.js";
import { percentText, secondsText } from "../numbers.js";
import type { Block, Result } from "../result.js";
import { NONE } from "../table.js";

/** What the phases do, for people; others have their own names. */
const MEANINGS: Readonly<Record<string, string>> = {
  calibrate: "calibrate: inputs of the layers are gathered",
  rotate: "rotate: the rotation is sought",
  survey: "survey: inputs of several blocks are gathered for one rotation",
  prune: "prune: weights are removed",
  quantize: "quantize: weights are rounded to codes",
  measure: "measure: errors of the layers",
  advance: "advance: the text goes through the compressed block",
};

const BETWEEN = "load, pack and keep blocks";

function meaningOf(phase: string): string {
  return Object.hasOwn(MEANINGS, phase) ? MEANINGS[phase] : phase;
}

/** Seconds of a block between its phases. */
function between({ seconds, phases }: Block): number {
  return Math.max(0, seconds - sum(phases, (one) => one.seconds));
}

export function timeFigure(results: readonly Result[]): Figure {
  return {
    id: "time",
    title: "Where the time went",
    caption:
      "Seconds that each kind of work took, over all blocks. A run that was interrupted counts the blocks that it had finished before, and of others what was done since.",
    ...panelsOf(results, ({ name, blocks, model, seconds, writeSeconds }) => {
      if (blocks.length === 0) return "The time of no block is known.";
      const phases = blocks.flatMap((block) => block.phases);
      const totals = rollup(
        phases,
        (own) => sum(own, (one) => one.seconds),
        ({ phase }) => phase,
      );
      const ofBlocks = sum(blocks, (block) => block.seconds);
      const rows: [string, number][] = [
        ...[...totals].map(([phase, value]): [string, number] => [meaningOf(phase), value]),
        [BETWEEN, sum(blocks, between)],
        ["write the output", writeSeconds],
        ["open the model, read the text", Math.max(0, seconds - ofBlocks - writeSeconds)],
      ];
      const all = sum(rows, ([, value]) => value) || 1;
      const bars = rows
        .toSorted((a, b) => b[1] - a[1])
        .map(([title, value]) => {
          const text = `${title}: ${secondsText(value)} s (${percentText(value / all)}%)`;
          return { name: text, segments: [{ kind: 0, value, text }] };
        });
      const names = [...totals.keys()];
      const untold = model.layers - blocks.length;
      return {
        chart: barChart({ label: `Bars of the seconds of each kind of work, ${name}`, bars }),
        note:
          untold > 0
            ? `The times of ${blocks.length} of ${model.layers} blocks are known.`
            : undefined,
        table: {
          columns: ["block", ...names.map((phase) => `${phase} (s)`), `${BETWEEN} (s)`, "all (s)"],
          rows: [
            ...blocks.map((block) => [
              String(block.block),
              ...names.map((phase) => {
                const own = block.phases.filter((one) => one.phase === phase);
                return own.length > 0 ? secondsText(sum(own, (one) => one.seconds)) : NONE;
              }),
              secondsText(between(block)),
              secondsText(block.seconds),
            ]),
            [
              "all",
              ...names.map((phase) => secondsText(totals.get(phase)!)),
              ...[sum(blocks, between), ofBlocks].map(secondsText),
            ],
          ],
        },
      };
    }),
  };
}
