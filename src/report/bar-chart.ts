import { max, sum } from "d3-array";
import { scaleLinear } from "d3-scale";
import { element, tooltip } from "./markup.js";
import { COLOURS, drawing, type LegendEntry, legend, lookOf, textAt, WIDTH } from "./plot.js";

/** A part of a bar. */
export interface Segment {
  /** Number of what it is in the legend, from 0. */
  readonly kind: number;
  readonly value: number;
  /** Shown where the pointer rests. */
  readonly text: string;
}

export interface Bar {
  /** Stands above it. */
  readonly name: string;
  readonly segments: readonly Segment[];
}

export interface BarChart {
  /** What a screen reader says. */
  readonly label: string;
  readonly bars: readonly Bar[];
  /** What the segments are; left out where each bar is one. */
  readonly kinds?: readonly string[] | undefined;
  /** What fills the width. @default the longest bar */
  readonly longest?: number | undefined;
}

const NAME_HEIGHT = 18;
const BAR_HEIGHT = 20;
const ROW_HEIGHT = NAME_HEIGHT + BAR_HEIGHT + 8;
/** Widths from which on a segment has its number in it. */
const ROOM = 12;

/** Bars one under the other, on one scale from 0, with their names and values above them. */
export function barChart({ label, bars, kinds, longest }: BarChart): string {
  const most = longest ?? max(bars, ({ segments }) => sum(segments, ({ value }) => value));
  const x = scaleLinear([0, most || 1], [0, WIDTH - 2]);
  const rows = bars.map(({ name, segments }, i) => {
    const top = i * ROW_HEIGHT;
    let start = 0;
    const fields = segments.map(({ kind, value, text }) => {
      const [left, width] = [x(start), x(value)];
      start += value;
      const field = element(
        "rect",
        { x: left + 1, y: top + NAME_HEIGHT, width, height: BAR_HEIGHT },
        tooltip(text),
      );
      const middle = { class: "on", "text-anchor": "middle" };
      const number =
        kinds && width >= ROOM
          ? textAt(left + 1 + width / 2, top + NAME_HEIGHT + 14, String(kind + 1), middle)
          : "";
      return element("g", { class: `s${lookOf(kind).colour} field` }, field, number);
    });
    return textAt(1, top + 13, name) + fields.join("");
  });
  const svg = drawing(bars.length * ROW_HEIGHT, label, ...rows);
  if (!kinds) return svg;
  const entries: LegendEntry[] = kinds.map((name, i) => ({ name, ...lookOf(i), kind: "field" }));
  return svg + legend(entries.slice(0, COLOURS));
}
