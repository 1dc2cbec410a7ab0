import { scaleLinear } from "d3-scale";
import { element, escaped, tooltip } from "./markup.js";
import { drawing, LEFT, RIGHT, textAt, WIDTH } from "./plot.js";

export interface Cell {
  /** A number in the maps' lists of columns and rows. */
  readonly column: number;
  readonly row: number;
  readonly value: number;
  /** Shown where the pointer rests. */
  readonly text: string;
}

export interface HeatMaps {
  /** What a screen reader says. */
  readonly label: string;
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  /** One under the other, on one scale of colours. */
  readonly maps: readonly { readonly name: string; readonly cells: readonly Cell[] }[];
  readonly xName: string;
  /** The smallest and the largest value. */
  readonly domain: readonly [number, number];
  /** A value in the legend. */
  readonly shown: (value: number) => string;
}

const ROW = 22;
const NAME = 20;
/** Room for the names of rows. */
const NAMES = LEFT + 46;
/** Columns from which on not each has its name. */
const MOST_NAMES = 16;
/** Cells are this strong at least, so that the least is seen, and at most. */
const STRENGTH = [0.08, 1] as const;

/** Maps of values, the larger the darker on paper and the brighter on a dark screen. */
export function heatMaps({ label, columns, rows, maps, xName, shown, domain }: HeatMaps): string {
  const [low, high] = domain;
  const strength = scaleLinear([low, low < high ? high : low + 1], STRENGTH).clamp(true);
  const right = WIDTH - RIGHT;
  const width = (right - NAMES) / columns.length;
  const height = NAME + rows.length * ROW + 8;
  const drawn = maps.map(({ name, cells }, i) => {
    const top = i * height + NAME;
    const names = rows.map((row, r) =>
      textAt(NAMES - 6, top + r * ROW + 15, row, { "text-anchor": "end" }),
    );
    const fields = cells.map(({ column, row, value, text }) =>
      element(
        "rect",
        {
          x: NAMES + column * width,
          y: top + row * ROW,
          ...{ width: Math.max(1, width - 0.7), height: ROW - 1 },
          "fill-opacity": String(Math.round(100 * strength(value)) / 100),
        },
        tooltip(text),
      ),
    );
    return (
      textAt(NAMES, top - 6, name, { class: "axis" }) +
      names.join("") +
      element("g", { class: "s0" }, ...fields)
    );
  });
  const bottom = maps.length * height;
  const every = Math.ceil(columns.length / MOST_NAMES);
  const ticks = columns.map((name, c) =>
    c % every === 0
      ? textAt(NAMES + (c + 0.5) * width, bottom + 6, name, { "text-anchor": "middle" })
      : "",
  );
  const title = textAt((NAMES + right) / 2, bottom + 24, xName, {
    "text-anchor": "middle",
    class: "axis",
  });
  const steps = [0, 0.25, 0.5, 0.75, 1].map((part, i) =>
    element("rect", {
      ...{ x: i * 16, y: 0, width: 16, height: 12 },
      "fill-opacity": String(Math.round(100 * strength(low + part * (high - low))) / 100),
    }),
  );
  const key = element(
    "svg",
    { viewBox: "0 0 80 12", class: "ramp s0", "aria-hidden": "true" },
    ...steps,
  );
  const ramp = `${escaped(shown(low))} ${key} ${escaped(shown(high))}`;
  return (
    drawing(bottom + 30, label, ...drawn, ...ticks, title) + element("p", { class: "legend" }, ramp)
  );
}
