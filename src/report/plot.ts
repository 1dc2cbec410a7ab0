/** What the charts have in common: their size, axes and legends. All lengths are in units of the viewBox. */
import { range } from "d3-array";
import { type ScaleContinuousNumeric, scaleLinear, scaleLog } from "d3-scale";
import {
  type SymbolType,
  symbol,
  symbolCircle,
  symbolCross,
  symbolDiamond,
  symbolSquare,
  symbolStar,
  symbolTriangle,
  symbolWye,
} from "d3-shape";
import { element, escaped } from "./markup.js";
import { tickText } from "./numbers.js";

export const WIDTH = 480;
/** Room for the ticks at the left, and beside the others. */
export const LEFT = 54;
export const RIGHT = 12;
export const TOP = 26;
export const BOTTOM = 40;

export type Scale = ScaleContinuousNumeric<number, number>;

/** Marks that tell series apart without colours, with dashes for their lines. */
const MARKS: readonly SymbolType[] = [
  symbolCircle,
  symbolSquare,
  symbolTriangle,
  symbolDiamond,
  symbolCross,
  symbolStar,
  symbolWye,
];
const DASHES = ["", "6 3", "2 2", "8 3 2 3", "1 3", "10 4", "4 2 1 2"];
/** Ratio of the ends of a logarithmic axis below which they need not be powers of ten. */
const NEAR = 1000;
/** Series of other colours; from then on they come again with other marks. */
export const COLOURS = 8;

/** Areas of marks: with room, and where there are many. */
const MARK_AREAS = { m: 36, n: 14 } as const;
export type MarkSize = keyof typeof MARK_AREAS;

/** How a series is drawn. */
export interface Look {
  /** Number of a colour of the style sheet. */
  readonly colour: number;
  /** Number of a mark. */
  readonly mark: number;
  readonly dash: string | undefined;
}

export function lookOf(series: number): Look {
  return {
    colour: series % COLOURS,
    mark: series % MARKS.length,
    dash: DASHES[series % DASHES.length] || undefined,
  };
}

/** The marks, which `markAt` refers to: once in a page. */
export function markDefinitions(): string {
  const marks = MARKS.flatMap((type, i) =>
    Object.entries(MARK_AREAS).map(([size, area]) =>
      element("path", { id: `${size}${i}`, d: symbol(type, area)() ?? "" }),
    ),
  );
  return element(
    "svg",
    { class: "defs", width: 0, height: 0, "aria-hidden": "true" },
    element("defs", {}, ...marks),
  );
}

/** A mark, with what is shown where the pointer rests on it. */
export function markAt(
  x: number,
  y: number,
  { mark }: Pick<Look, "mark">,
  size: MarkSize,
  ...content: string[]
): string {
  return element("use", { href: `#${size}${mark}`, x, y }, ...content);
}

/** A drawing of this height, with what a screen reader says of it. */
export function drawing(height: number, label: string, ...content: string[]): string {
  const attributes = { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label };
  return element("svg", attributes, ...content);
}

export function textAt(
  x: number,
  y: number,
  text: string,
  attributes: Readonly<Record<string, string | number | undefined>> = {},
): string {
  return element("text", { x, y, ...attributes }, escaped(text));
}

/** The smallest and the largest, apart from one another also where all are the same. */
function apart([low, high]: readonly [number, number], isLog: boolean): [number, number] {
  if (low < high) return [low, high];
  return isLog ? [low / 2, low * 2] : [Math.min(0, low), low > 0 ? low * 1.1 : 1];
}

/**
 * A scale whose ends are round numbers.
 *
 * @param domain smallest and largest value; above 0 where `isLog`
 */
export function niceScale(
  domain: readonly [number, number],
  range: readonly [number, number],
  isLog: boolean,
): Scale {
  const scale = isLog ? scaleLog() : scaleLinear();
  const [low, high] = apart(domain, isLog);
  // Whole powers of ten would leave most of a chart empty where values are near one another.
  const isNear = isLog && high / low < NEAR;
  const ends = isNear ? roundEnds(low, high) : [low, high];
  const made = scale.domain(ends).range(range);
  return isNear ? made : made.nice();
}

/** 1, 2, 5 and 10 times the power of ten below a value. */
function roundNumbers(value: number): number[] {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((digit) => digit * power);
}

/** The round numbers next to two values, below and above. */
function roundEnds(low: number, high: number): [number, number] {
  return [
    roundNumbers(low).findLast((round) => round <= low) ?? low,
    roundNumbers(high).find((round) => round >= high) ?? high,
  ];
}

/** Values to mark on a scale, about `count` of them. */
export function ticksOf(scale: Scale, count: number, isLog: boolean): number[] {
  if (!isLog) return scale.ticks(count);
  const [low, high] = scale.domain();
  const [first, last] = [low, high].map((value) => Math.floor(Math.log10(value) + 1e-9));
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.round(decades / count));
  const digits = decades <= 1.1 ? [1, 2, 3, 5, 7] : decades <= 3 ? [1, 2, 5] : [1];
  const powers = range(first, last + 1).filter((power) => power % every === 0);
  // Written so, they have no rounding error.
  const all = powers.flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`)));
  return all.filter((value) => value >= low * 0.999 && value <= high * 1.001);
}

/** The axis at the left, its name above it, with lines across the chart. */
export function leftAxis(scale: Scale, name: string, right: number, isLog: boolean): string {
  const lines = ticksOf(scale, 6, isLog).map((value) => {
    const y = scale(value);
    const line = element("line", { x1: LEFT, x2: right, y1: y, y2: y, class: "grid" });
    return line + textAt(LEFT - 6, y + 4, tickText(value), { "text-anchor": "end" });
  });
  return lines.join("") + textAt(2, 12, name, { class: "axis" });
}

/** The axis at the bottom. */
export function bottomAxis(
  at: readonly { readonly x: number; readonly text: string }[],
  name: string,
  y: number,
  range: readonly [number, number],
  lineTop?: number,
): string {
  const [left, right] = range;
  const ticks = at.map(({ x, text }) => {
    const line = element("line", { x1: x, x2: x, y1: lineTop ?? y, y2: y + 4, class: "grid" });
    return line + textAt(x, y + 17, text, { "text-anchor": "middle" });
  });
  const title = textAt((left + right) / 2, y + 34, name, {
    "text-anchor": "middle",
    class: "axis",
  });
  const base = element("line", { x1: left, x2: right, y1: y, y2: y, class: "base" });
  return ticks.join("") + base + title;
}

/** A line of a legend: what a series looks like, and its name. */
export interface LegendEntry extends Look {
  readonly name: string;
  /** What is drawn. @default a line with a mark */
  readonly kind?: keyof typeof KEYS | undefined;
  /** A class of the style sheet. @default that of the colour */
  readonly style?: string | undefined;
}

const KEY_WIDTH = 34;
const KEY_HEIGHT = 14;
const MIDDLE = KEY_HEIGHT / 2;

function keyLine({ dash }: Look): string {
  const ends = { x1: 1, x2: KEY_WIDTH - 1, y1: MIDDLE, y2: MIDDLE };
  return element("line", { ...ends, class: "line", "stroke-dasharray": dash });
}

function keyMark(look: Look): string {
  return markAt(KEY_WIDTH / 2, MIDDLE, look, "m");
}

/** What stands before a name in a legend. */
const KEYS = {
  both: (look: Look) => keyLine(look) + keyMark(look),
  line: keyLine,
  mark: keyMark,
  /** A field with the number that its parts of the chart have. */
  field: (_: Look, index: number) =>
    element("rect", { x: 5, y: 0, width: 24, height: KEY_HEIGHT }) +
    textAt(17, 11, String(index + 1), { class: "on", "text-anchor": "middle" }),
  thin: () => element("path", { d: "M13 1V13M17 1V13M22 1V13", class: "thin" }),
  box: () => element("rect", { x: 7, y: 1, width: 20, height: 12, class: "box" }),
};

export function legend(entries: readonly LegendEntry[]): string {
  const items = entries.map((entry, i) => {
    const { name, colour, kind = "both", style = `s${colour}` } = entry;
    const size = { viewBox: `0 0 ${KEY_WIDTH} ${KEY_HEIGHT}`, "aria-hidden": "true" };
    const key = element("svg", { ...size, class: `key ${style}` }, KEYS[kind](entry, i));
    return `<li>${key} ${escaped(name)}`;
  });
  return element("ul", { class: "legend" }, ...items);
}
