import { extent } from "d3-array";
import { scaleLinear } from "d3-scale";
import { line } from "d3-shape";
import { element, tooltip } from "./markup.js";
import {
  BOTTOM,
  bottomAxis,
  drawing,
  LEFT,
  leftAxis,
  legend,
  lookOf,
  markAt,
  niceScale,
  RIGHT,
  TOP,
  WIDTH,
} from "./plot.js";

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Shown where the pointer rests. */
  readonly text: string;
}

export interface Series {
  readonly name: string;
  /** In order of x. */
  readonly points: readonly Point[];
}

export interface LineChart {
  /** What a screen reader says. */
  readonly label: string;
  readonly series: readonly Series[];
  readonly xName: string;
  readonly yName: string;
  /** Smallest and largest y. @default those of the points */
  readonly yDomain?: readonly [number, number] | undefined;
}

const HEIGHT = 300;
/** Points of a series from which on marks are small. */
const MANY = 25;

/** Lines over whole numbers, with a logarithmic axis. Of values that are not above 0 nothing is drawn. */
export function lineChart({ label, series, xName, yName, yDomain }: LineChart): string {
  const drawn = series.map((one) => ({ ...one, points: one.points.filter(({ y }) => y > 0) }));
  const all = drawn.flatMap(({ points }) => points);
  const [first = 0, last = 0] = extent(all, ({ x }) => x);
  const padding = first === last ? 0.5 : 0;
  const [left, right] = [LEFT + 6, WIDTH - RIGHT];
  const bottom = HEIGHT - BOTTOM;
  const x = scaleLinear([first - padding, last + padding], [left, right]);
  const [low = 1, high = 1] = extent(all, (point) => point.y);
  const y = niceScale(yDomain ?? [low, high], [bottom, TOP], true);
  const path = line<Point>(
    (point) => x(point.x),
    (point) => y(point.y),
  ).digits(1);
  const lines = drawn.map(({ points }, i) => {
    const look = lookOf(i);
    const size = points.length > MANY ? "n" : "m";
    return element(
      "g",
      { class: `s${look.colour}` },
      element("path", { class: "line", d: path(points) ?? "", "stroke-dasharray": look.dash }),
      ...points.map((point) => markAt(x(point.x), y(point.y), look, size, tooltip(point.text))),
    );
  });
  const ticks = x
    .ticks(10)
    .filter(Number.isInteger)
    .map((value) => ({ x: x(value), text: String(value) }));
  const svg = drawing(
    HEIGHT,
    label,
    leftAxis(y, yName, right, true),
    bottomAxis(ticks, xName, bottom, [LEFT, right]),
    ...lines,
  );
  if (series.length < 2) return svg;
  return svg + legend(series.map(({ name }, i) => ({ name, ...lookOf(i) })));
}
