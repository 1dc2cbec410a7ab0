import { extent, quantileSorted } from "d3-array";
import { element, tooltip } from "./markup.js";
import { tickText } from "./numbers.js";
import {
  BOTTOM,
  bottomAxis,
  drawing,
  legend,
  lookOf,
  markAt,
  niceScale,
  RIGHT,
  textAt,
  ticksOf,
  WIDTH,
} from "./plot.js";

export interface Spread {
  /** Stands above it. */
  readonly name: string;
  /** Above 0, rising. */
  readonly values: readonly number[];
  /** What is marked among them. */
  readonly middle: number;
  readonly text: string;
}

export interface SpreadChart {
  /** What a screen reader says. */
  readonly label: string;
  readonly spreads: readonly Spread[];
  readonly xName: string;
  /** Smallest and largest value. @default those of the spreads */
  readonly domain?: readonly [number, number] | undefined;
  /** What a thin line is, the box, and the mark. */
  readonly meanings: readonly [values: string, middle: string];
}

const NAME = 18;
const BAND = 22;
const ROW = NAME + BAND + 10;
const SIDE = 8;
/** Thin lines at most: those of more values lie on one another. */
const MOST_LINES = 200;
/** Ratio of the largest to the smallest from which on the axis is logarithmic. */
const WIDE = 4;

/** The smallest and the largest value of some spreads. */
export function domainOf(spreads: readonly Spread[]): [low: number, high: number] {
  const [low = 1, high = 1] = extent(spreads.flatMap(({ values, middle }) => [...values, middle]));
  return [low, high];
}

/** Values as thin lines, their middle half as a box, and what stands for them as a mark. */
export function spreadChart({ label, spreads, xName, meanings, domain }: SpreadChart): string {
  const [low, high] = domain ?? domainOf(spreads);
  const isLog = high / low > WIDE;
  const [left, right] = [SIDE, WIDTH - RIGHT - SIDE];
  const x = niceScale([low, high], [left, right], isLog);
  const rows = spreads.map(({ name, values, middle, text }, i) => {
    const [top, end] = [i * ROW + NAME, i * ROW + NAME + BAND];
    const every = Math.ceil(values.length / MOST_LINES);
    const lines = values
      .filter((_, k) => k % every === 0)
      .map((value) => `M${x(value).toFixed(1)} ${top + 3}V${end - 3}`);
    const [from, to] = [0.25, 0.75].map((share) => x(quantileSorted([...values], share) ?? middle));
    const box = { x: from, y: top, width: Math.max(1, to - from), height: BAND };
    const look = lookOf(i);
    return (
      textAt(left, i * ROW + 13, name, { class: "name" }) +
      element(
        "g",
        { class: `s${look.colour}` },
        element("path", { d: lines.join(""), class: "thin" }),
        element("rect", { ...box, class: "box" }),
        markAt(x(middle), top + BAND / 2, { mark: MIDDLE }, "m", tooltip(text)),
      )
    );
  });
  const bottom = spreads.length * ROW + 2;
  const ticks = ticksOf(x, 7, isLog).map((value) => ({ x: x(value), text: tickText(value) }));
  const [values, middle] = meanings;
  return (
    drawing(bottom + BOTTOM, label, bottomAxis(ticks, xName, bottom, [left, right], 0), ...rows) +
    legend([
      { ...lookOf(0), name: values, kind: "thin" },
      { ...lookOf(0), name: "the middle half of them", kind: "box" },
      { ...lookOf(0), mark: MIDDLE, name: middle, kind: "mark" },
    ])
  );
}

/** A diamond. */
const MIDDLE = 3;
