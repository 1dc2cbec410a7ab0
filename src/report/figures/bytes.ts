import { max } from "d3-array";
import { barChart } from "../bar-chart.js";
import { type Figure, panelsOf } from "../figure.js";
import { bytesText, byteUnit, inUnit } from "../numbers.js";
import type { Part, Result } from "../result.js";

/** What the parts are called for people. */
const NAMES: Readonly<Record<string, string>> = {
  mlp: "MLP",
  factors: "factors and rotations",
  rest: "norms and the rest",
};

function nameOf({ part }: Part): string {
  return Object.hasOwn(NAMES, part) ? NAMES[part] : part;
}

export function bytesFigure(results: readonly Result[]): Figure {
  // One scale for all, so that they can be compared.
  const longest = max(results, ({ totals }) => Math.max(totals.bytesBefore, totals.bytesAfter));
  return {
    id: "bytes",
    title: "Bytes, part by part",
    caption:
      "What the tensors of the model take on the disk before and after. Embedding and head stay as they were unless they are quantized too, so that they weigh the more the smaller a model is. In the dense layout removed weights are stored as zeros and save nothing.",
    ...panelsOf(results, ({ name, parts, totals }) => {
      if (parts.length === 0) return "The bytes of no part are known.";
      const bar = (when: string, bytes: number, key: "bytesBefore" | "bytesAfter") => ({
        name: `${when}: ${bytesText(bytes)}`,
        segments: parts.map((part, kind) => {
          return { kind, value: part[key], text: `${nameOf(part)}: ${bytesText(part[key])}` };
        }),
      });
      const unit = byteUnit(totals.bytesBefore);
      const line = (title: string, before: number, after: number) => [
        title,
        ...[before, after].map((bytes) => inUnit(bytes, unit)),
      ];
      return {
        chart: barChart({
          label: `Bars of the bytes of each part before and after, ${name}`,
          bars: [
            bar("before", totals.bytesBefore, "bytesBefore"),
            bar("after", totals.bytesAfter, "bytesAfter"),
          ],
          kinds: parts.map(nameOf),
          longest,
        }),
        table: {
          columns: ["part", `before (${unit.name})`, `after (${unit.name})`],
          rows: [
            ...parts.map((part) => line(nameOf(part), part.bytesBefore, part.bytesAfter)),
            line("all", totals.bytesBefore, totals.bytesAfter),
          ],
        },
      };
    }),
  };
}
